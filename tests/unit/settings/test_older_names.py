"""A `.env` of the service that this system replaces: its names are accepted, reported or rejected, and never
ignored."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.settings import Inspection, inspect_settings
from gengui_stream.settings.model import Settings
from gengui_stream.settings.older_names import OLDER_NAMES, Renaming, translate
from gengui_stream.settings.sources import Variable


def inspected(**environ: str) -> Inspection:
    return inspect_settings(environ, env_files=())


KEYS = {"GEMINI_API_KEY": "k", "RUNPOD_API_KEY": "k", "RUNPOD_ENDPOINT_ID": "e"}
"""Without these a provider is none."""

OTHER_HALF = {"AWS_ACCESS_KEY_ID": {"AWS_SECRET_ACCESS_KEY": "s"}, "AWS_SECRET_ACCESS_KEY": {"AWS_ACCESS_KEY_ID": "id"}}


def value(inspection: Inspection, name: str) -> str | None:
    variable = inspection.variables.get(name)
    return variable.text if variable else None


@pytest.mark.parametrize(
    ("old", "word", "new", "expected"),
    [
        ("NODE_ENV", "production", "ENVIRONMENT", "production"),
        ("NODE_ENV", "development", "ENVIRONMENT", "development"),
        ("NODE_ENV", "test", "ENVIRONMENT", "development"),
        ("IMAGE_INFERENCE_PROVIDER", "gemini", "DEFAULT_PROVIDER", "gemini"),
        ("IMAGE_INFERENCE_PROVIDER", "RunPod", "DEFAULT_PROVIDER", "runpod"),
        ("IMAGE_INFERENCE_PROVIDER", "local", "DEFAULT_PROVIDER", "local"),
        ("ENABLE_RUNPOD", "true", "DEFAULT_PROVIDER", "runpod"),
        ("ENABLE_RUNPOD", "false", "DEFAULT_PROVIDER", "local"),
        ("AWS_S3_BUCKET", "pictures", "S3_BUCKET", "pictures"),
        ("S3_BUCKET_NAME", "pictures", "S3_BUCKET", "pictures"),
        ("AWS_DEFAULT_REGION", "eu-west-1", "AWS_REGION", "eu-west-1"),
        ("MINIO_BUCKET", "pictures", "S3_BUCKET", "pictures"),
        ("MINIO_BUCKET_NAME", "pictures", "S3_BUCKET", "pictures"),
        ("MINIO_REGION", "eu-west-1", "AWS_REGION", "eu-west-1"),
        ("MINIO_ACCESS_KEY", "minioadmin", "AWS_ACCESS_KEY_ID", "minioadmin"),
        ("MINIO_SECRET_KEY", "minioadmin", "AWS_SECRET_ACCESS_KEY", "minioadmin"),
        ("MINIO_ENDPOINT", "http://minio:9000", "S3_ENDPOINT", "http://minio:9000"),
        ("MINIO_ENDPOINT", "minio", "S3_ENDPOINT", "http://minio:9000"),
        ("MINIO_ENDPOINT", "minio:9010", "S3_ENDPOINT", "http://minio:9010"),
    ],
)
def test_an_older_name_counts_and_is_named(old: str, word: str, new: str, expected: str) -> None:
    found = inspected(**{old: word}, **KEYS, **OTHER_HALF.get(new, {}))
    assert (found.faults, value(found, new)) == ((), expected)
    assert found.renamings == (Renaming(old, new, used=True),)
    assert found.unread() == []


def test_every_older_name_stands_for_a_setting_there_is() -> None:
    assert {rule.new.lower() for rule in OLDER_NAMES.values()} <= set(Settings.model_fields)
    assert not {name.lower() for name in OLDER_NAMES} & set(Settings.model_fields)


def test_minios_address_in_parts() -> None:
    found = inspected(MINIO_ENDPOINT="minio", MINIO_PORT="9443", MINIO_USE_SSL="true")
    assert value(found, "S3_ENDPOINT") == "https://minio:9443"
    assert value(inspected(MINIO_ENDPOINT="minio", MINIO_SECURE="1"), "S3_ENDPOINT") == "https://minio:9000"
    assert [one.name for one in inspected(MINIO_USE_SSL="true").unread()] == ["MINIO_USE_SSL"]


@pytest.mark.parametrize(
    ("word", "level"), [("warn", "warning"), ("WARN", "warning"), ("trace", "debug"), ("fatal", "error")]
)
def test_older_words_for_levels(word: str, level: str) -> None:
    found = inspected(LOG_LEVEL=word)
    assert found.valid().log_level == level
    assert found.renamings == (Renaming(f"LOG_LEVEL={word}", f"LOG_LEVEL={level}", used=True),)


def test_todays_name_wins_and_the_older_one_is_named_all_the_same() -> None:
    found = inspected(
        NODE_ENV="production", ENVIRONMENT="development", IMAGE_INFERENCE_PROVIDER="flux", DEFAULT_PROVIDER="local"
    )
    assert (found.valid().environment, found.valid().default_provider) == ("development", "local")
    assert found.renamings == (
        Renaming("NODE_ENV", "ENVIRONMENT", used=False),
        Renaming("IMAGE_INFERENCE_PROVIDER", "DEFAULT_PROVIDER", used=False),
    )


def test_todays_name_wins_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ENVIRONMENT=development\n")
    found = inspect_settings({"NODE_ENV": "production"}, env_files=(tmp_path / ".env",))
    assert found.valid().environment == "development"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"NODE_ENV": "staging"}, "NODE_ENV: must be one of development, test, production; or set ENVIRONMENT instead"),
        ({"ENABLE_RUNPOD": "maybe"}, "ENABLE_RUNPOD: must be one of true, 1, yes, false, 0, no"),
        ({"IMAGE_INFERENCE_PROVIDER": "flux"}, "IMAGE_INFERENCE_PROVIDER: must be one of gemini, runpod, local"),
        ({"MINIO_ENDPOINT": "minio", "MINIO_USE_SSL": "tls"}, "MINIO_ENDPOINT: MINIO_USE_SSL must be true or false"),
        ({"MINIO_BUCKET": "No_Such_Name"}, "MINIO_BUCKET (S3_BUCKET): "),
        ({"MINIO_ENDPOINT": "ftp://minio"}, "MINIO_ENDPOINT (S3_ENDPOINT): "),
    ],
)
def test_a_word_that_means_nothing_is_a_fault(environ: dict[str, str], named: str) -> None:
    [fault] = inspected(**environ, **KEYS).faults
    assert fault.startswith(named)


@pytest.mark.parametrize(
    "environ",
    [
        {"ENABLE_RUNPOD": "true", "IMAGE_INFERENCE_PROVIDER": "gemini"},
        {"ENABLE_RUNPOD": "false", "IMAGE_INFERENCE_PROVIDER": "runpod"},
        {"AWS_S3_BUCKET": "one", "MINIO_BUCKET": "another"},
        {"AWS_DEFAULT_REGION": "eu-west-1", "MINIO_REGION": "us-east-1"},
        {"MINIO_ACCESS_KEY": "id", "MINIO_SECRET_KEY": "hunter2"}
        | {"S3_BUCKET_NAME": "one", "AWS_S3_BUCKET": "another"},
    ],
)
def test_older_names_that_disagree_are_a_fault_that_shows_no_value(environ: dict[str, str]) -> None:
    [fault] = inspected(**environ, **KEYS).faults
    names = fault.partition(":")[0].split(", ")
    assert len(names) == 2
    assert set(names) <= set(environ)
    assert not any(text in fault for text in environ.values() if text not in {"true", "false"})


def test_runpod_switched_off_leaves_the_choice_among_the_others() -> None:
    found = inspected(ENABLE_RUNPOD="false", IMAGE_INFERENCE_PROVIDER="gemini", **KEYS)
    assert found.valid().default_provider == "gemini"


NAMES = st.sampled_from([*OLDER_NAMES, *(rule.new for rule in OLDER_NAMES.values()), "PATH", "MINIO_PORT"])


@given(st.dictionaries(NAMES, st.text(min_size=1), max_size=8))
def test_no_variable_gets_lost(environ: dict[str, str]) -> None:
    """Each is read, accepted under another name, reported as a renaming, or a fault."""
    variables = {name: Variable(name, text, "environment") for name, text in environ.items()}
    found = translate(variables)
    for name in environ:
        renamed = {one.old for one in found.renamings}
        assert name in found.variables or name in renamed or (name == "MINIO_PORT" and "MINIO_ENDPOINT" in renamed)
    for name, variable in found.variables.items():
        assert name not in OLDER_NAMES
        assert name not in environ or variable.text == environ[name]
