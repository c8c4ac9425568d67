"""Each secret may be in a file that a variable names; never in a message."""

from pathlib import Path
from typing import Final

import pytest

from gengui_stream.settings import inspect_settings, load_settings
from gengui_stream.settings.secrets.fields import SECRETS
from gengui_stream.settings.secrets.files import MAX_BYTES
from gengui_stream.settings.sources import DEV_ENV

SECRET: Final = "hunter2-hunter2-hunter2"
VALID: Final = {
    "ACCOUNTS_DUMP_KEY": "A" * 43 + "=",
    "DATABASE_DIRECT_URL": f"postgresql://u:{SECRET}@h/d",
    "DATABASE_URL": f"postgresql://u:{SECRET}@h/d",
    "GROWTHBOOK_DECRYPTION_KEY": "A" * 22 + "==",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2",
    "SENTRY_DSN": "https://hunter2@h/1",
    "REDIS_URL": f"redis://:{SECRET}@h",
}
"""What is valid, where not every text is."""

BESIDE: Final = {
    "AWS_SECRET_ACCESS_KEY": {"AWS_ACCESS_KEY_ID": "key"},
    "RUNPOD_API_KEY": {"RUNPOD_ENDPOINT_ID": "endpoint"},
    "SMTP_PASSWORD": {"SMTP_USER": "user"},
}


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_may_be_in_a_file(name: str, tmp_path: Path) -> None:
    secret, beside = VALID.get(name, SECRET), BESIDE.get(name, {})
    path = _written(tmp_path / "secret", f"{secret}\n".encode())
    inspection = inspect_settings({f"{name}_FILE": path, **beside}, env_files=())
    assert inspection.valid() == load_settings({name: secret, **beside}, env_files=())
    assert inspection.unread() == []


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"a", "a"), (b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a \n", " a "), (b"a\r", "a\r")],
)
def test_one_newline_at_the_end_is_not_of_the_secret(content: bytes, secret: str, tmp_path: Path) -> None:
    settings = load_settings({"DB_PASSWORD_FILE": _written(tmp_path / "secret", content)}, env_files=())
    assert settings.db_password is not None
    assert settings.db_password.get_secret_value() == secret


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"hunter2\0", "has the character NUL"),
        (b"hunter2" * MAX_BYTES, f"has more than {MAX_BYTES} bytes: that is no secret"),
    ],
)
def test_a_file_without_a_secret_is_a_fault_that_does_not_show_it(content: bytes, said: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "secret", content)
    assert inspect_settings({"DB_PASSWORD_FILE": path}, env_files=()).faults == (f"DB_PASSWORD_FILE: {path} {said}",)


def test_a_file_that_cannot_be_read_is_a_fault_with_the_others(tmp_path: Path) -> None:
    environ = {"DB_PASSWORD_FILE": f"{tmp_path}/none", "REDIS_URL_FILE": str(tmp_path), "PORT": "many"}
    assert inspect_settings(environ, env_files=()).faults == (
        f"DB_PASSWORD_FILE: {tmp_path}/none does not exist: it must be the path of a file with the secret",
        f"REDIS_URL_FILE: {tmp_path} is not a file",
        "PORT: must be a whole number",
    )


def test_a_secret_given_as_a_path_is_not_shown() -> None:
    [fault] = inspect_settings({"DB_PASSWORD_FILE": SECRET}, env_files=()).faults
    assert fault.startswith("DB_PASSWORD_FILE: its value, a relative path, does not exist")
    assert SECRET not in fault


def test_what_an_unreadable_file_would_have_set_is_not_missed(tmp_path: Path) -> None:
    environ = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "u",
        "KAFKA_SASL_PASSWORD_FILE": f"{tmp_path}/none",
        "DEFAULT_PROVIDER": "gemini",
        "GEMINI_API_KEY_FILE": f"{tmp_path}/none",
        "REDIS_URL_FILE": f"{tmp_path}/none",
        "SMTP_USER": "u",
        "SMTP_PASSWORD_FILE": f"{tmp_path}/none",
    }
    named = [fault.partition(":")[0] for fault in inspect_settings(environ, env_files=()).faults]
    assert named == ["GEMINI_API_KEY_FILE", "KAFKA_SASL_PASSWORD_FILE", "REDIS_URL_FILE", "SMTP_PASSWORD_FILE"]


def test_a_fault_of_the_content_names_the_variable_and_not_the_content(tmp_path: Path) -> None:
    path = _written(tmp_path / "secret", f"mysql://u:{SECRET}@h/d".encode())
    [fault] = inspect_settings({"DATABASE_URL_FILE": path}, env_files=()).faults
    assert fault == "DATABASE_URL_FILE (DATABASE_URL): must begin with postgresql:// or postgres://"


def test_both_ways_in_one_source_are_a_fault(tmp_path: Path) -> None:
    environ = {"DB_PASSWORD": "a", "DB_PASSWORD_FILE": _written(tmp_path / "secret", b"b")}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in environ.items()))
    [fault] = inspect_settings(environ, env_files=()).faults
    assert fault == "DB_PASSWORD, DB_PASSWORD_FILE (environment): both are set: leave one of them out"
    [fault] = inspect_settings({}, env_files=(tmp_path / ".env",)).faults
    assert fault == f"DB_PASSWORD, DB_PASSWORD_FILE ({tmp_path}/.env): both are set: leave one of them out"


@pytest.mark.parametrize(("environ", "env"), [("DB_PASSWORD", "DB_PASSWORD_FILE"), ("DB_PASSWORD_FILE", "DB_PASSWORD")])
def test_the_environment_takes_precedence_either_way(environ: str, env: str, tmp_path: Path) -> None:
    """`make dev` gives its roles the secrets that it has read from the files in `.env`, which they read too."""
    values = {"DB_PASSWORD": "text", "DB_PASSWORD_FILE": _written(tmp_path / "secret", b"content")}
    (tmp_path / ".env").write_text(f"{env}={values[env]}\n")
    settings = load_settings({environ: values[environ]}, env_files=(tmp_path / ".env",))
    assert settings.db_password is not None
    assert settings.db_password.get_secret_value() == ("text" if environ == "DB_PASSWORD" else "content")


def test_a_file_overrides_what_make_dev_wrote(tmp_path: Path) -> None:
    dev = tmp_path / DEV_ENV
    dev.parent.mkdir()
    dev.write_text("REDIS_URL=redis://dev\n")
    path = _written(tmp_path / "secret", b"redis://other\n")
    assert load_settings({"REDIS_URL_FILE": path}, env_files=(dev,)).redis_dsn == "redis://other"


def test_of_two_files_the_environment_names_the_one_that_is_read(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(f"DB_PASSWORD_FILE={tmp_path}/none\n")
    path = _written(tmp_path / "secret", b"b")
    inspection = inspect_settings({"DB_PASSWORD_FILE": path}, env_files=(env,))
    assert inspection.faults == ()
    assert inspection.variables["DB_PASSWORD"].source == "environment"


def test_the_file_of_a_key_for_another_server_is_left_out(tmp_path: Path) -> None:
    """`make dev` started this one."""
    dev, env = tmp_path / DEV_ENV, tmp_path / ".env"
    dev.parent.mkdir()
    dev.write_text("S3_ENDPOINT=http://dev\nAWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")
    env.write_text(f"AWS_ACCESS_KEY_ID=c\nAWS_SECRET_ACCESS_KEY_FILE={_written(tmp_path / 'secret', b'd')}\n")
    settings = load_settings({}, env_files=(dev, env))
    assert settings.aws_secret_access_key is not None
    assert (settings.aws_access_key_id, settings.aws_secret_access_key.get_secret_value()) == ("a", "b")
