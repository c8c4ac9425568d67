"""`gengui-stream config`: valid or not, from where, and no secret."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gengui_stream.cli.app import command_line
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.settings.model import Settings

SECRETS = {
    "DATABASE_URL": "postgresql://gengui:hunter2@db/x?password=hunter2",
    "REDIS_URL": "redis://:hunter2@cache",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "MINIO_SECRET_KEY": "hunter2",
    "GEMINI_API_KEY": "hunter2",
    "WEBHOOK_SECRET": "hunter2-hunter2-hunter2",
    "KAFKA_SASL_PASSWORD": "hunter2",
    "DB_PASSWROD": "hunter2",
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without the settings of this machine, in a directory without env files."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def run(line: str, environ: Mapping[str, str] | None = None) -> Result:
    ran = CliRunner().invoke(
        command_line(["config"]), ["config", *line.split()], env={"COLUMNS": "300", **(environ or {})}
    )
    assert "hunter2" not in ran.output
    return ran


def document(line: str, environ: Mapping[str, str] | None = None) -> Any:
    return json.loads(run(f"{line} --json", environ).stdout)


def test_defaults_are_valid() -> None:
    ran = run("check")
    assert (ran.exit_code, ran.stdout) == (0, "the settings are valid: 0 set, the others have their defaults\n")
    assert document("check") == {"valid": True, "faults": [], "warnings": []}


def test_every_fault_and_every_warning_at_once() -> None:
    environ = {
        "PORT": "x",
        "LOG_LEVEL": "loud",
        "NODE_ENV": "production",
        "KAFKA_SERVERS": "k:1",
        "AUGMENTATION_LIMIT_USER": "1",
    }
    ran = run("check", environ)
    assert ran.exit_code == ExitCode.CONFIGURATION
    lines = ran.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["fault", "LOG_LEVEL:"],
        ["fault", "PORT:"],
        ["warning", "NODE_ENV:"],
        ["warning", "AUGMENTATION_LIMIT_USER"],
        ["warning", "KAFKA_SERVERS"],
    ]
    assert "did you mean KAFKA_BOOTSTRAP_SERVERS?" in lines[4]
    found = document("check", environ)
    assert (found["valid"], len(found["faults"]), len(found["warnings"])) == (False, 2, 3)


@pytest.mark.parametrize("more", [{}, {"PORT": "x"}])
def test_no_secret_is_shown_whether_or_not_the_settings_are_valid(more: dict[str, str]) -> None:
    for line in ("check", "check --json", "show", "show --json", "show --all"):
        run(line, {**SECRETS, **more})


def test_each_value_has_its_source(alone: Path) -> None:
    (alone / ".gengui").mkdir()
    (alone / ".gengui" / "dev.env").write_text("S3_ENDPOINT=http://127.0.0.1:8333\nEVENTS_TOPIC=old\n")
    (alone / ".env").write_text("NODE_ENV=production\nEVENTS_TOPIC=new\nDATABASE_URL=postgresql://u:hunter2@db/x\n")
    shown = {one["name"]: one for one in document("show", {"PORT": "4000"})}
    assert {name: (one["value"], one["source"], one["set_as"]) for name, one in shown.items()} == {
        "ENVIRONMENT": ("production", ".env", "NODE_ENV"),
        "EVENTS_TOPIC": ("new", ".env", None),
        "DATABASE_URL": ("postgresql://u:***@db/x", ".env", None),
        "S3_ENDPOINT": ("http://127.0.0.1:8333", ".gengui/dev.env", None),
        "PORT": (4000, "environment", None),
    }


def test_the_faults_of_a_file_are_printed_as_every_fault(alone: Path) -> None:
    (alone / ".env").write_bytes(b"GEMINI_API_KEY=hunter2\nPORT=30\xff\n")
    said = ".env: line 2 is not UTF-8; save the file as UTF-8"
    ran = run("check")
    assert (ran.exit_code, ran.stdout) == (ExitCode.CONFIGURATION, f"fault    {said}\n")
    assert document("check") == {"valid": False, "faults": [said], "warnings": []}
    shown = run("show")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (
        ExitCode.CONFIGURATION,
        "none\n",
        f"gengui-stream: {said}\n",
    )


def test_all_shows_defaults_too_as_they_are_in_this_environment() -> None:
    shown = {
        one["name"]: (one["value"], one["source"]) for one in document("show --all", {"ENVIRONMENT": "production"})
    }
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    assert shown["DB_POOL_MAX"] == (10, "default")
    assert shown["REDIS_URL"] == ("redis://127.0.0.1:6379/0", "default")


def test_what_is_not_valid_is_shown_as_it_was_written() -> None:
    ran = run("show", {"PORT": "many"})
    assert ran.exit_code == ExitCode.CONFIGURATION
    assert ran.stdout.split()[-3:] == ["PORT", "many", "environment"]
    assert ran.stderr.startswith("gengui-stream: PORT: ")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ENVIRONMENT": "production"}, "EVENTS_REPLICATION_FACTOR"),
        ({"ENVIRONMENT": "production"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"ENVIRONMENT": "production"}, "DATABASE_URL, DB_SSL"),
        ({"ENVIRONMENT": "production"}, "REDIS_URL"),
    ],
)
def test_choices_that_are_rarely_meant_are_named(environ: dict[str, str], named: str) -> None:
    found = document("check", environ)
    assert found["valid"]
    assert any(named in warning for warning in found["warnings"])


def test_a_correct_production_has_no_warnings(tmp_path: Path) -> None:
    environ = {
        "ENVIRONMENT": "production",
        "EVENTS_REPLICATION_FACTOR": "3",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "DATABASE_URL": "postgresql://gengui:hunter2@db/gengui?sslmode=verify-full",
        "REDIS_URL": "rediss://:hunter2@cache",
    }
    assert document("check", environ) == {"valid": True, "faults": [], "warnings": []}


def test_a_secret_of_a_file_is_shown_by_the_variable_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    [shown] = document("show", {"DB_PASSWORD_FILE": str(tmp_path / "password")})
    assert shown == {"name": "DB_PASSWORD", "value": "***", "source": "environment", "set_as": "DB_PASSWORD_FILE"}
