"""The logging of every process: structlog and the libraries' records in one format, one event a line, without secrets.

An event has a stable snake_case name, and ids as fields. It goes to standard error: standard output is for results.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gengui_stream.printable import printable, printable_lines
from gengui_stream.settings import Settings

REDACTED: Final = "***"

CHATTY: Final = (
    "aiohttp.access",
    "aiokafka",
    "asyncio",
    "boto3",
    "botocore",
    "faust",
    "growthbook",
    "kafka",
    "mode",
    "PIL",
    "s3transfer",
    "urllib3",
)
"""Libraries that are logged from `warning` on, with LOG_LEVEL=debug from `info`."""

_SECRET_NAME: Final = re.compile(
    r"(?:^|[_-])(?:password|passwd|secret|authorization|token|credentials?|cookie|signature|(?:api|access)[_-]?key)"
    r"(?:$|[_-])",
    re.IGNORECASE,
)

_SECRETS: Final = (
    (re.compile(r"\b(gg_(?:live_)?[0-9A-Za-z]+_)[A-Za-z0-9_-]{8,}"), rf"\1{REDACTED}"),
    (re.compile(r"(gengui-session=)[^\s;,'\"]+"), rf"\1{REDACTED}"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)"), rf"\1{REDACTED}"),
    (re.compile(r"\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (
        re.compile(
            r"((?:password|secret|token|signature|credential|(?:api|access)[_-]?key)(?:=|['\"]\s*:\s*))('[^']*'|\"[^\"]*\"|[^\s&,;}]+)",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)
"""API keys keep their public id, tokens their kind, URLs their user; presigned URLs lose their signature. Wider than
`token_patterns`: a key that was cut off or damaged is a secret too."""

_uncaught = structlog.get_logger("gengui_stream.uncaught")


def configure_logging(
    settings: Settings, role: str, stream: TextIO | None = None, *, more: Sequence[Processor] = ()
) -> None:
    """Configures structlog and the standard library's root logger for this process; a second call replaces the first.

    Also logs an uncaught exception that ends the process. `stream`: standard error by default. `more`: processors that
    see each event before its exception becomes text, and before it is redacted.
    """
    target = sys.stderr if stream is None else stream
    before = _before_rendering(role, more)
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_level(settings)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(settings, target, before)
    sys.excepthook = _log_uncaught


def log_for_people(settings: Settings, role: str) -> None:
    """The same for a command, without the lines of libraries: the command says in one line what their errors mean."""
    configure_logging(settings, role)
    if settings.log_level != "debug":
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor that removes values under the names of secrets, and secrets inside strings."""
    return {name: _redact_field(name, value) for name, value in event.items()}


def escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor for terminals: strings keep no control character, and tracebacks only their line breaks."""
    return {
        name: (printable_lines if name in {"exception", "stack"} else printable)(value)
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


def redact_text(text: str) -> str:
    """The text with API keys, passwords in URLs, authorization headers and signatures masked."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _redact_field(name: str, value: object) -> object:
    if name in {"_record", "_from_structlog"}:
        return value
    return REDACTED if value is not None and _SECRET_NAME.search(name) else _redact_value(value)


def _redact_value(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _redact_field(str(name), inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redact_value(inner) for inner in value]
        case BaseException():
            return redact_text(repr(value))
        case _:
            return redact_text(str(value))


def _before_rendering(role: str, more: Sequence[Processor]) -> list[Processor]:
    """The processors of all events, also of libraries. Tracebacks become text first, so that they are redacted."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_fields(role),
        *more,
        structlog.processors.format_exc_info,
        redact,
    ]


def _process_fields(role: str) -> Processor:
    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        event.setdefault("pid", os.getpid())
        return event

    return add


def _renderer(settings: Settings, target: TextIO) -> Processor:
    production = settings.environment == "production"
    if settings.log_format == "console" or (settings.log_format == "auto" and not production and target.isatty()):
        # Not rich's tracebacks, which print the values of local variables.
        render = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
        return lambda logger, method, event: render(logger, method, escape(logger, method, event))
    return structlog.processors.JSONRenderer()


class _Handler(logging.StreamHandler[TextIO]):
    """A handler of its own type, so that a second configuration replaces it and no other."""


def _route_standard_logging(settings: Settings, target: TextIO, before: list[Processor]) -> None:
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings, target)],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)] + [handler]
    root.setLevel(_level(settings))
    floor = logging.INFO if settings.log_level == "debug" else logging.WARNING
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(floor, _level(settings)))
    logging.captureWarnings(capture=True)


def _level(settings: Settings) -> int:
    return logging.getLevelNamesMapping()[settings.log_level.upper()]


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, Exception):
        _uncaught.critical("process_crashed", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)
