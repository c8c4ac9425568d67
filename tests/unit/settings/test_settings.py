"""Settings: every fault at once, no secret in a message, a defined precedence, and a current example file."""

from itertools import chain
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import Settings, load_settings
from gengui_stream.settings import example as settings_example
from gengui_stream.settings.sources import OF_A_SERVER, Variable, merged


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ, env_files=())
    return refused.value.faults


def test_nothing_needs_to_be_set_in_development() -> None:
    settings = load_settings({}, env_files=())
    assert settings.port == 3000
    assert settings.events_topic == "generation.events"
    assert settings.database_dsn == "postgresql://gengui@127.0.0.1:5432/gengui"
    assert settings.s3_endpoint is None


def test_every_fault_is_reported_at_once_by_the_name_of_its_variable() -> None:
    found = faults({"PORT": "many", "EVENTS_PARTITIONS": "0", "LOG_LEVEL": "loud", "S3_BUCKET": "No_Such_Name"})
    assert {fault.split(":")[0] for fault in found} == {"PORT", "EVENTS_PARTITIONS", "LOG_LEVEL", "S3_BUCKET"}


def test_faults_between_settings_are_reported_at_once_too() -> None:
    found = faults(
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_BOOTSTRAP_SERVERS": "broker",
            "DATABASE_URL": "mysql://localhost/x",
            "REDIS_URL": "localhost",
            "S3_ENDPOINT": "127.0.0.1:8333",
            "WORKER_TRANSPORT": "http",
        }
    )
    named = "\n".join(found)
    for name in ("KAFKA_SASL_PASSWORD", "KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL", "S3_ENDPOINT"):
        assert name in named
    assert "WORKER_API_KEY" in named


@pytest.mark.parametrize("brokers", ["http://broker:9092", "kafka://broker:9092", "a:1,https://b:2"])
def test_a_url_is_no_broker(brokers: str) -> None:
    """A role would wait forever for a broker of that name."""
    [fault] = faults({"KAFKA_BOOTSTRAP_SERVERS": brokers})
    assert fault.startswith("KAFKA_BOOTSTRAP_SERVERS: ")
    assert fault.endswith("is not host:port")


def test_faults_of_single_settings_and_of_addresses_are_reported_at_once() -> None:
    found = faults({"LOG_LEVEL": "loud", "DATABASE_URL": "mysql://localhost/x", "REDIS_URL": "redis://h:port"})
    assert {fault.split(":")[0] for fault in found} == {"LOG_LEVEL", "DATABASE_URL", "REDIS_URL"}


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"GROWTHBOOK_API_HOST": "http://127.0.0.1:3100"}, "GROWTHBOOK_CLIENT_KEY"),
        ({"GROWTHBOOK_CLIENT_KEY": "sdk-1/../../admin"}, "GROWTHBOOK_CLIENT_KEY"),
        ({"GROWTHBOOK_DECRYPTION_KEY": "c2hvcnQ="}, "GROWTHBOOK_DECRYPTION_KEY"),
        ({"GROWTHBOOK_API_HOST": "growthbook", "GROWTHBOOK_CLIENT_KEY": "sdk-1"}, "GROWTHBOOK_API_HOST"),
        ({"PROVIDER_FALLBACKS": "gemini, runpod", "GEMINI_API_KEY": "k"}, "PROVIDER_FALLBACKS"),
        ({"RUNPOD_API_KEY": "rp-1"}, "RUNPOD_ENDPOINT_ID"),
        ({"AWS_ACCESS_KEY_ID": "id"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "s"}, "AWS_ACCESS_KEY_ID"),
        ({"RUNPOD_ENDPOINT_ID": "abc"}, "RUNPOD_API_KEY"),
        ({"RUNPOD_API_KEY": "rp-1", "RUNPOD_ENDPOINT_ID": "../x"}, "RUNPOD_ENDPOINT_ID"),
        ({"RUNPOD_EXECUTION_TIMEOUTS": "zit-basic=4"}, "RUNPOD_EXECUTION_TIMEOUTS"),
        ({"RUNPOD_EXECUTION_TIMEOUTS": "zit-basic"}, "RUNPOD_EXECUTION_TIMEOUTS"),
        ({"PRICES": "runpod/zit-basic=cheap"}, "PRICES"),
        ({"PRICES": "runpod/zit-basic=1/second,runpod/zit-basic=2/second"}, "PRICES"),
        ({"RUNPOD_TTL_S": "10"}, "RUNPOD_TTL_S"),
        ({"WEBHOOK_SECRET": "short"}, "WEBHOOK_SECRET"),
    ],
)
def test_faults_of_flags_and_fallbacks_name_their_variable(environ: dict[str, str], variable: str) -> None:
    assert [fault.split(":")[0] for fault in faults(environ)] == [variable]


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"KAFKA_SESSION_TIMEOUT_S": "5"}, "KAFKA_SESSION_TIMEOUT_S"),
        ({"KAFKA_HEARTBEAT_INTERVAL_S": "2.5"}, "KAFKA_HEARTBEAT_INTERVAL_S"),
        ({"KAFKA_SESSION_TIMEOUT_S": "30", "KAFKA_HEARTBEAT_INTERVAL_S": "10.1"}, "KAFKA_HEARTBEAT_INTERVAL_S"),
        ({"KAFKA_SESSION_TIMEOUT_S": "soon", "KAFKA_HEARTBEAT_INTERVAL_S": "10"}, "KAFKA_SESSION_TIMEOUT_S"),
        ({"KAFKA_MAX_POLL_INTERVAL_S": "0"}, "KAFKA_MAX_POLL_INTERVAL_S"),
    ],
)
def test_the_times_of_a_consumer_group_fit_each_other(environ: dict[str, str], variable: str) -> None:
    assert [fault.split(":")[0] for fault in faults(environ)] == [variable]


def test_a_heartbeat_of_a_third_of_the_session_is_taken() -> None:
    times = {"KAFKA_SESSION_TIMEOUT_S": "30", "KAFKA_HEARTBEAT_INTERVAL_S": "10"}
    assert load_settings(times, env_files=()).kafka_heartbeat_interval_s == 10


def test_faults_of_gemini_are_reported_at_once() -> None:
    given = {
        "GEMINI_API_KEY": "two words",
        "GEMINI_BASE_URL": "generativelanguage",
        "GEMINI_MODEL": "models/x",
        "GEMINI_TIMEOUT_S": "0.5",
        "GEMINI_CALLS_AT_ONCE": "0",
    }
    assert {fault.split(":")[0] for fault in faults(given)} == set(given)


def test_gemini_needs_no_more_than_a_key_and_the_first_of_its_models_is_the_usual_one() -> None:
    assert load_settings({}, env_files=()).gemini_api_key is None
    assert load_settings({"GEMINI_API_KEY": "k"}, env_files=()).gemini_model_names == ("gemini-3.1-flash-image",)
    several = load_settings({"GEMINI_MODEL": "b,a,b"}, env_files=())
    assert several.gemini_model_names == ("b", "a")


def test_fallbacks_are_in_order_and_each_once() -> None:
    assert load_settings({}, env_files=()).fallback_order == ()
    keys = {"GEMINI_API_KEY": "k", "RUNPOD_API_KEY": "k", "RUNPOD_ENDPOINT_ID": "e"}
    settings = load_settings({"PROVIDER_FALLBACKS": "gemini,runpod,gemini,local", **keys}, env_files=())
    assert settings.fallback_order == ("gemini", "runpod", "local")


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": "postgresql://gengui:hunter2@db:port/x"},
        {"REDIS_URL": "redis://:hunter2@cache:99999"},
        {"DATABASE_URL": "mysql://gengui:hunter2@db/x"},
        {"REDIS_URL": "http://:hunter2@cache"},
        {"KAFKA_SASL_PASSWORD": "hunter2", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        {"WORKER_API_KEY": "hunter2", "WORKER_TRANSPORT": "http"},
        {"AWS_SECRET_ACCESS_KEY": "hunter2", "PORT": "x"},
        {"GROWTHBOOK_DECRYPTION_KEY": "hunter2"},
        {"GEMINI_API_KEY": "hunter2\n"},
        {"GEMINI_API_KEY": "hunter2", "GEMINI_TIMEOUT_S": "0"},
    ],
)
def test_no_message_holds_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ, env_files=())
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_no_settings_object_shows_a_secret() -> None:
    settings = load_settings(
        {"DATABASE_URL": "postgresql://gengui:hunter2@db/x", "REDIS_URL": "redis://:hunter2@cache"}, env_files=()
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" in settings.database_dsn
    assert "hunter2" in settings.redis_dsn


def test_the_environment_wins_over_later_files_and_those_over_earlier_ones(tmp_path: Path) -> None:
    development, own = tmp_path / "dev.env", tmp_path / ".env"
    development.write_text("PORT=1111\nS3_BUCKET=from-dev\nMAX_ATTEMPTS=1\n")
    own.write_text("PORT=2222\nS3_BUCKET=from-own\n")
    settings = load_settings({"PORT": "3333"}, env_files=(development, own))
    assert (settings.port, settings.s3_bucket, settings.max_attempts) == (3333, "from-own", 1)


def test_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=4444\nS3_ENDPOINT=\n")
    settings = load_settings({"PORT": "", "REDIS_URL": ""}, env_files=(file,))
    assert (settings.port, settings.s3_endpoint) == (4444, None)
    assert settings.redis_dsn == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (5, 10)),
        ({"ENVIRONMENT": "production"}, (10, 5)),
        ({"NODE_ENV": "production"}, (10, 5)),
        ({"ENVIRONMENT": "production", "DB_POOL_MAX": "3"}, (3, 5)),
        ({"ENVIRONMENT": "production", "DB_CONNECT_TIMEOUT": "7"}, (10, 7)),
    ],
)
def test_the_database_pool_is_by_environment(environ: dict[str, str], expected: tuple[int, float]) -> None:
    settings = load_settings(environ, env_files=())
    assert (settings.db_pool_max, settings.db_connect_timeout) == expected


def test_what_is_not_ours_is_left_alone() -> None:
    load_settings({"PATH": "/bin", "PYTHONHASHSEED": "0"}, env_files=())


def test_a_missing_file_is_no_fault(tmp_path: Path) -> None:
    assert load_settings({}, env_files=(tmp_path / "none.env",)) == load_settings({}, env_files=())


def test_the_parts_of_a_database_address_are_escaped() -> None:
    environ = {"DB_HOST": "db", "DB_USER": "a@b", "DB_PASSWORD": "p/w:1", "DB_NAME": "x y", "DB_SSL": "true"}
    dsn = load_settings(environ, env_files=()).database_dsn
    assert dsn == "postgresql://a%40b:p%2Fw%3A1@db:5432/x%20y?sslmode=verify-full&sslrootcert=system"


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load_settings({}, env_files=())
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - what the type checker would refuse


def test_the_example_file_is_up_to_date() -> None:
    assert settings_example.main(["--check"]) == 0


def test_the_example_names_every_setting_and_a_copy_of_it_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(settings_example.render())
    assert load_settings({}, env_files=(copy,)) == load_settings({}, env_files=())
    assert all(f"\n#{name.upper()}=" in settings_example.render() for name in Settings.model_fields)


def test_the_examples_defaults_are_valid_as_written(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    unmarked = [
        line.removeprefix("#") for line in settings_example.render().splitlines() if line[:1] == "#" != line[1:2]
    ]
    copy.write_text("\n".join(line for line in unmarked if "=" in line and not line.startswith(" ")))
    assert load_settings({}, env_files=(copy,)) == load_settings({}, env_files=())


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_group_of_the_example_begins_with_a_setting_there_is() -> None:
    assert set(settings_example.GROUPS) <= set(Settings.model_fields)


DEV, ENV = "/checkout/.gengui/dev.env", ".env"
LAYERS: Final = (DEV, ENV, "environment")


@st.composite
def variables(draw: st.DrawFn) -> list[dict[str, Variable]]:
    """The values of each source, the lowest precedence first."""
    names = st.sets(st.sampled_from(sorted({"PORT", "AWS_SESSION_TOKEN", *OF_A_SERVER, *chain(*OF_A_SERVER.values())})))
    return [{name: Variable(name, f"{name} of {source}", source) for name in draw(names)} for source in LAYERS]


@given(variables())
def test_the_settings_of_a_server_that_dev_started_come_from_dev_alone(layers: list[dict[str, Variable]]) -> None:
    found = merged(layers)
    for address, names in OF_A_SERVER.items():
        if address in found and found[address].source == DEV:
            assert {name: found[name] for name in names & found.keys()} == {
                name: layers[0][name] for name in names & layers[0].keys()
            }
        else:
            for name in names - {"AWS_SESSION_TOKEN"}:
                assert found.get(name) == next((layer[name] for layer in reversed(layers) if name in layer), None)


@given(variables())
def test_a_session_token_never_comes_from_below_its_key(layers: list[dict[str, Variable]]) -> None:
    found = merged(layers)
    if "AWS_SESSION_TOKEN" in found and "AWS_ACCESS_KEY_ID" in found:
        token, key = (LAYERS.index(found[name].source) for name in ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"))
        assert token >= key
