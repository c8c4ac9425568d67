"""Logging: one path for this system and its libraries, one event a line, and no secret."""

import io
import json
import logging
import re
import sys

import pytest
import structlog
from pydantic import SecretStr

from gengui_stream.logging import configure_logging, redact_text
from gengui_stream.settings import Settings

API_KEY = "gg_1a2b3c4d_" + "S" * 43


def configured(**values: object) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(Settings.model_validate(values), "api", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields_role_and_context() -> None:
    stream = configured()
    structlog.contextvars.bind_contextvars(correlation_id="c-1")
    structlog.get_logger("gengui_stream.api").info("generation_requested", generation_id="g-1")
    [line] = lines(stream)
    assert {
        "event": "generation_requested",
        "generation_id": "g-1",
        "level": "info",
        "role": "api",
        "correlation_id": "c-1",
        "logger": "gengui_stream.api",
    }.items() <= line.items()
    assert str(line["timestamp"]).endswith("Z")


def test_a_librarys_record_takes_the_same_path() -> None:
    stream = configured()
    logging.getLogger("aiokafka.consumer").error("lost %s", "broker-1")
    [line] = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost broker-1", "error", "aiokafka.consumer")


def test_chatty_libraries_speak_from_warning_on() -> None:
    stream = configured()
    logging.getLogger("botocore.auth").info("signing")
    logging.getLogger("faust.transport").info("fetching")
    logging.getLogger("faust.transport").warning("slow")
    assert [line["event"] for line in lines(stream)] == ["slow"]


def test_the_level_holds_for_us_and_for_libraries() -> None:
    stream = configured(log_level="error")
    structlog.get_logger("ours").warning("hidden")
    logging.getLogger("theirs").warning("hidden")
    structlog.get_logger("ours").error("seen")
    assert [line["event"] for line in lines(stream)] == ["seen"]


def test_configuring_again_replaces_the_first() -> None:
    first = configured()
    second = configured()
    structlog.get_logger().info("once")
    assert not first.getvalue()
    assert len(lines(second)) == 1


def test_the_console_form_is_for_people() -> None:
    stream = configured(log_format="console")
    structlog.get_logger().info("started", port=3000)
    assert "started" in stream.getvalue()
    assert "port=3000" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        lines(stream)


def test_a_strangers_control_characters_do_not_reach_a_terminal() -> None:
    stream = configured(log_format="console")
    try:
        raise ValueError("\x1b[31mred\nforged \x9b2J")
    except ValueError:
        structlog.get_logger().exception("\x1b[2Jfailed", prompt="a\x07\nforged", ids=["\x1b"])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", stream.getvalue())
    assert r"prompt=a\u0007\nforged" in stream.getvalue()
    assert not any(line.startswith("forged") for line in stream.getvalue().split("\n")[:1])


@pytest.mark.parametrize(
    "name", ["password", "db_password", "aws_secret_access_key", "Authorization", "session_token", "api-key", "cookie"]
)
def test_a_value_under_a_secrets_name_is_not_logged(name: str) -> None:
    stream = configured()
    structlog.get_logger().info("connecting", **{name: "hunter2-value"}, nested={name: ["hunter2-value"]})
    assert "hunter2-value" not in stream.getvalue()


@pytest.mark.parametrize("name", ["object_key", "job_key", "tokens_left", "keys", "idempotency_key"])
def test_names_that_only_sound_like_secrets_are_kept(name: str) -> None:
    stream = configured()
    structlog.get_logger().info("stored", **{name: "a-value"})
    assert lines(stream)[0][name] == "a-value"


def test_numbers_stay_numbers_and_nothing_stays_nothing() -> None:
    stream = configured()
    structlog.get_logger().info("measured", seconds=0.5, events=3, done=True, stage=None, offsets={0: 12})
    [line] = lines(stream)
    assert (line["seconds"], line["events"], line["done"], line["stage"]) == (0.5, 3, True, None)
    assert line["offsets"] == {"0": 12}


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        (f"refused {API_KEY}", "gg_1a2b3c4d_***", "SSSS"),
        ("no server at postgresql://gengui:p%40ss@db:5432/x", "postgresql://gengui:***@db:5432/x", "p%40ss"),
        ("redis://:pa@ss@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0", "pa@ss"),
        ("Authorization: Bearer abcdefgh12345", "Bearer ***", "abcdefgh"),
        ("GET /b/k?X-Amz-Expires=900&X-Amz-Signature=0a1b2c3d", "X-Amz-Expires=900", "0a1b2c3d"),
        ("connect(host='db', password='s3cr3t x')", "host='db'", "s3cr3t"),
        ("{'aws_secret_access_key': 'wJalr', 'region': 'x'}", "'region': 'x'", "wJalr"),
    ],
)
def test_secrets_inside_text_are_redacted(text: str, kept: str, gone: str) -> None:
    redacted = redact_text(text)
    assert kept in redacted
    assert gone not in redacted


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:3000/v1/generations", "s3://bucket/a:b@c", "password: must not be empty", "gg_1a2b3c4d"]
)
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


def test_secrets_in_errors_tracebacks_and_library_records_are_redacted() -> None:
    stream = configured()
    try:
        raise OSError(f"refused by redis://:hunter2@localhost with {API_KEY}")
    except OSError as error:
        structlog.get_logger().exception("connection_failed", error=error, setting=SecretStr("hunter2"))
        logging.getLogger("redis").exception("cannot reach %s", "redis://:hunter2@localhost")
    assert "hunter2" not in stream.getvalue()
    assert "SSSS" not in stream.getvalue()
    assert all("Traceback" in str(line["exception"]) for line in lines(stream))


def test_the_error_that_ends_a_process_is_logged_and_redacted() -> None:
    stream = configured()
    error = RuntimeError("bad password='hunter2'")
    sys.excepthook(RuntimeError, error, None)
    [line] = lines(stream)
    assert (line["event"], line["level"]) == ("process_crashed", "critical")
    assert "hunter2" not in stream.getvalue()


def test_a_value_without_json_is_logged_as_text() -> None:
    stream = configured()
    structlog.get_logger().info("odd", huge=2**80, lone="\ud800", blob=b"\x00", kinds={1, 2})
    assert lines(stream)[0]["huge"] == 2**80
