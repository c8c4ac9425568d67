"""Sends errors of the log to Sentry: what failed and where, and never what it was about.

An event has the name of the line, its ids, and the stack without local variables. It has no text that an exception or
a field contains: drivers quote values in their messages, prompts among them. The log has those, under the same ids.
Sentry's SDK is imported only by a process that has a DSN, and instruments nothing.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from structlog.typing import EventDict, Processor, WrappedLogger

from gengui_stream.errors import ConfigurationError
from gengui_stream.logging import redact_text
from gengui_stream.settings import Settings
from gengui_stream.tracing.export import FLUSH_S, INSTALL

if TYPE_CHECKING:
    from sentry_sdk import Client
    from sentry_sdk.types import Event

REPORTED: Final = frozenset({"error", "critical"})
TAGS: Final = ("role", "route", "method", "status", "code", "provider", "operation", "partition", "kind")
IDS: Final = ("correlation_id", "generation_id", "attempt", "job_key", "entry_id", "offset", "pid", "grace_s")

_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


@contextmanager
def reported(settings: Settings) -> Iterator[Processor]:
    """Yields the structlog processor that reports errors. At the end waits for Sentry as for a collector. Raises
    ConfigurationError where the SDK is not installed."""
    client = _client(settings)
    try:
        yield _Reporting(client)
    finally:
        client.close(timeout=min(FLUSH_S, settings.shutdown_grace_s))


def _client(settings: Settings) -> "Client":
    """Without `send_default_pii`, which is off by default: to turn it off by name is deprecated."""
    try:
        from sentry_sdk import Client
    except ImportError as error:
        raise ConfigurationError([f"SENTRY_DSN: needs sentry-sdk: {INSTALL}"]) from error

    return Client(
        dsn=settings.sentry_dsn.get_secret_value() if settings.sentry_dsn else None,
        environment=settings.sentry_environment or settings.environment,
        release=f"gengui-stream@{version('gengui-stream')}",
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        before_send=without_texts,
    )


class _Reporting:
    """A structlog processor, before the one that turns exceptions into text."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if event.get("level") in REPORTED:
            self._client.capture_event(self._event(event))
        return event

    def _event(self, line: EventDict) -> "Event":
        made: Event = {"level": "fatal" if line["level"] == "critical" else "error"}
        if (failure := _exc_info(line.get("exc_info"))) is not None:
            from sentry_sdk.utils import event_from_exception

            made |= event_from_exception(failure, self._client.options)[0]
        made["logger"] = str(line.get("logger", ""))
        made["logentry"] = {"message": _named(line)}
        made["tags"] = {name: str(line[name]) for name in TAGS if line.get(name) is not None}
        made["extra"] = {name: line[name] for name in IDS if line.get(name) is not None}
        if "trace_id" in line:
            made["contexts"] = {"trace": {"trace_id": line["trace_id"], "span_id": line["span_id"]}}
        return made


def without_texts(event: "Event", _: object) -> "Event":
    """`before_send`: empties the messages of exceptions, and redacts every other text. Pure."""
    for failure in event.get("exception", {}).get("values", ()):
        failure["value"] = ""
    return cast("Event", _redacted(event))


def _redacted(value: object) -> object:
    match value:
        case str():
            return redact_text(value)
        case Mapping():
            return {name: _redacted(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_redacted(inner) for inner in value]
        case _:
            return value


def _named(line: EventDict) -> str:
    """The name of the line; of a library's record, which may have any text, where it was logged."""
    record, name = line.get("_record"), str(line.get("event"))
    if record is None or line.get("_from_structlog"):
        return name if _EVENT_NAME.fullmatch(name) else "log"
    return f"{record.name}.{record.funcName}"


def _exc_info(given: object) -> _ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    kind, error, trace = (
        given if isinstance(given, tuple) and len(given) == 3 else sys.exc_info() if given else (None,) * 3
    )
    return (kind, error, trace) if isinstance(error, BaseException) and isinstance(kind, type) else None
