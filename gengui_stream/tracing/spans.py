"""Spans, and the trace context that the events carry. Imports nothing of OpenTelemetry.

Where tracing is off, a span is one shared object that does nothing, and a trace context that arrives with a request or
a job is passed on as it came.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

Kind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
Attributes: TypeAlias = Mapping[str, str | int | float | bool]

NO_ATTRIBUTES: Final[Attributes] = {}

VALID_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00 and those that later versions keep readable."""


class SpanIds(NamedTuple):
    """In hexadecimal, as a collector shows them."""

    trace_id: str
    span_id: str


class Span(Protocol):
    """What the block of a span may add to it."""

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None:
        """The work has failed. `error_type`: a class or a code, never a message, which may quote a prompt."""
        ...


class Recorder(Protocol):
    """Makes spans where tracing is on."""

    def span(
        self,
        name: str,
        kind: Kind,
        parents: Iterable[str | None],
        attributes: Attributes,
        *,
        begins_trace: bool,
        began_ns: int | None,
    ) -> AbstractContextManager[Span]: ...

    def traceparent(self) -> str | None:
        """Of the current span."""
        ...

    def ids(self) -> SpanIds | None:
        """Of the current span."""
        ...


class _NoSpan:
    """Reused: it has no state."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None: ...


class _Passing(_NoSpan):
    """Passes a trace context on during its block."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent
        self._token: Token[str | None] | None = None

    def __enter__(self) -> Span:
        self._token = _passed.set(self._traceparent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _passed.reset(self._token)


@dataclass(slots=True)
class _Tracing:
    recorder: Recorder | None = None


NO_SPAN: Final = _NoSpan()

_tracing: Final = _Tracing()
_passed: Final[ContextVar[str | None]] = ContextVar("passed_traceparent", default=None)


def record_with(recorder: Recorder | None) -> None:
    """Turns tracing on for this process; None turns it off."""
    _tracing.recorder = recorder


def is_on() -> bool:
    return _tracing.recorder is not None


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parents: Iterable[str | None] = (),
    attributes: Attributes = NO_ATTRIBUTES,
    began_ns: int | None = None,
) -> AbstractContextManager[Span]:
    """A span that is the current one during the block.

    Its parent is the current span; without one the first of `parents`, traceparents of which those that are sampled
    come first, and the others are linked. Without either there is no span: only requests begin traces. `began_ns`: Unix
    nanoseconds of a beginning before the block.
    """
    recorder = _tracing.recorder
    if recorder is None:
        return NO_SPAN
    return recorder.span(name, kind, parents, attributes, begins_trace=False, began_ns=began_ns)


def continued(
    name: str,
    kind: Kind,
    traceparent: str | None,
    attributes: Attributes = NO_ATTRIBUTES,
    *,
    begins_trace: bool = False,
) -> AbstractContextManager[Span]:
    """A span that goes on with the trace of a request or of a job. Where tracing is off, the events of the block get
    the same traceparent. `begins_trace`: there is a span without a traceparent, too."""
    recorder = _tracing.recorder
    if recorder is not None:
        return recorder.span(name, kind, (traceparent,), attributes, begins_trace=begins_trace, began_ns=None)
    return _Passing(traceparent) if traceparent else NO_SPAN


def current_traceparent() -> str | None:
    """For an event, a job or a request that is made now."""
    recorder = _tracing.recorder
    return _passed.get() if recorder is None else recorder.traceparent()


def current_ids() -> SpanIds | None:
    """Of the current span; None where tracing is off."""
    recorder = _tracing.recorder
    return None if recorder is None else recorder.ids()


def valid_traceparent(text: str | None) -> str | None:
    """The text if it is a traceparent; a damaged one is ignored, as the standard requires."""
    return text if text and VALID_TRACEPARENT.fullmatch(text) else None
