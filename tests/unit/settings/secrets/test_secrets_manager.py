"""Settings from a secret in AWS Secrets Manager, over its real protocol."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.errors import ConfigurationError
from gengui_stream.logging import configure_logging
from gengui_stream.settings import inspect_settings, load_settings
from gengui_stream.settings.sources import DEV_ENV
from tests.unit.settings.secrets.secrets_manager_server import Refusal, SecretsManager, secrets_manager

NAME: Final = "production/gengui"
SECRET: Final = "hunter2-hunter2-hunter2"

Serve = Callable[..., SecretsManager]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts the server with one secret, and points the AWS SDK of this process to it."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with secrets_manager({}) as manager:

        def start(content: str | bytes | Refusal) -> SecretsManager:
            manager.secrets[NAME] = content
            for name, value in manager.environ.items():
                monkeypatch.setenv(name, value)
            return manager

        yield start


def _environ(**others: str) -> dict[str, str]:
    return {"AWS_SECRETS_MANAGER_SECRET_ID": NAME, "AWS_REGION": "eu-central-1", **others}


def _faults(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ, env_files=())
    return refused.value.faults


def test_settings_come_from_the_secret(serve: Serve) -> None:
    manager = serve(json.dumps({"DB_PASSWORD": SECRET, "db_host": "db", "DB_PORT": 5433, "DB_SSL": True, "owner": "x"}))
    inspection = inspect_settings(_environ(), env_files=())
    settings = inspection.valid()
    assert settings.db_password is not None
    assert settings.db_password.get_secret_value() == SECRET
    assert (settings.db_host, settings.db_port, settings.db_ssl) == ("db", 5433, True)
    assert inspection.variables["DB_PASSWORD"].source == f"secret {NAME}"
    assert inspection.unread() == []
    assert manager.regions == ["eu-central-1"]


def test_a_misspelled_setting_of_the_secret_is_noticed(serve: Serve) -> None:
    serve(json.dumps({"DB_PASSWORD": SECRET, "DB_HSOT": "db"}))
    [found] = inspect_settings(_environ(), env_files=()).unread()
    assert (found.name, found.source, found.nearest) == ("DB_HSOT", f"secret {NAME}", "DB_HOST")


def test_the_environment_and_env_files_take_precedence_but_not_make_dev(serve: Serve, tmp_path: Path) -> None:
    serve(json.dumps({"DB_HOST": "secret", "DB_NAME": "secret", "DB_USER": "secret", "DB_PASSWORD": "secret"}))
    dev, env, password = tmp_path / DEV_ENV, tmp_path / ".env", tmp_path / "password"
    dev.parent.mkdir()
    dev.write_text("DB_HOST=dev\nDB_NAME=dev\n")
    env.write_text("DB_NAME=env\n")
    password.write_text("file\n")
    environ = _environ(DB_USER="environment", DB_PASSWORD_FILE=str(password))
    settings = load_settings(environ, env_files=(dev, env))
    assert settings.database_dsn == "postgresql://environment:file@secret:5432/env"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            Refusal("AccessDeniedException", "User: x is not authorized"),
            "AccessDeniedException: User: x is not authorized: allow secretsmanager:GetSecretValue on the secret, and "
            "kms:Decrypt on its key",
        ),
        (
            Refusal("InternalServiceError", "An error occurred on the server side.", 500),
            "InternalServiceError: An error occurred on the server side.: see what AWS Secrets Manager says",
        ),
        (f"password: {SECRET}", 'must be a text with a JSON object of settings, such as {"DB_PASSWORD": "…"}'),
        (f'["{SECRET}"]', 'must be a text with a JSON object of settings, such as {"DB_PASSWORD": "…"}'),
        (SECRET.encode(), 'must be a text with a JSON object of settings, such as {"DB_PASSWORD": "…"}'),
        (
            json.dumps({"username": "u", "password": SECRET}),
            'has no setting: it must be a text with a JSON object of settings, such as {"DB_PASSWORD": "…"}',
        ),
        (json.dumps({"DB_PASSWORD": {"value": SECRET}}), "must have a text or a number for DB_PASSWORD"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_fault_with_the_others(
    serve: Serve, content: str | bytes | Refusal, said: str
) -> None:
    serve(content)
    environ = _environ(PORT="many", KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="PLAIN")
    environ["KAFKA_SASL_USERNAME"] = "u"
    assert _faults(environ) == [f"AWS_SECRETS_MANAGER_SECRET_ID: {NAME}: {said}", "PORT: must be a whole number"]


def test_an_unknown_name_is_a_fault(serve: Serve) -> None:
    serve("{}")
    [fault] = _faults({**_environ(), "AWS_SECRETS_MANAGER_SECRET_ID": "other"})
    assert fault.startswith("AWS_SECRETS_MANAGER_SECRET_ID: other: ResourceNotFoundException: ")
    assert fault.endswith("there is no such secret in this region: correct it, or AWS_REGION")


def test_a_fault_of_a_value_names_the_setting_and_not_the_value(serve: Serve) -> None:
    serve(json.dumps({"DATABASE_URL": f"mysql://u:{SECRET}@h/d"}))
    assert _faults(_environ()) == ["DATABASE_URL: must begin with postgresql:// or postgres://"]


def test_without_a_region_or_credentials_a_line_says_what_to_set(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("{}")
    [fault] = _faults({"AWS_SECRETS_MANAGER_SECRET_ID": NAME})
    assert fault.endswith("set AWS_REGION to the region of the secret")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    [fault] = _faults(_environ())
    assert "give the process a role" in fault


def test_an_unavailable_secrets_manager_is_a_fault(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("{}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    [fault] = _faults(_environ())
    assert "AWS Secrets Manager is unavailable (EndpointConnectionError)" in fault


def test_the_secret_is_not_logged_at_any_level(serve: Serve) -> None:
    """botocore logs every response, with LOG_LEVEL=debug of the whole process."""
    serve(json.dumps({"DB_PASSWORD": SECRET}))
    logged = io.StringIO()
    configure_logging(load_settings({"LOG_LEVEL": "debug"}, env_files=()), "test", logged)
    logging.getLogger("gengui_stream").debug("this is logged")
    load_settings(_environ(), env_files=())
    assert "this is logged" in logged.getvalue()
    assert SECRET not in logged.getvalue()
