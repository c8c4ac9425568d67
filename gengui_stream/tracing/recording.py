"""Spans by OpenTelemetry's API. Imported only where tracing is on."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from gengui_stream.tracing.spans import (
    NO_SPAN,
    Attributes,
    Kind,
    Span,
    SpanIds,
    valid_traceparent,
)

LINKS_MAX: Final = 128
"""OpenTelemetry's default limit of a span: a batch of the fold may have the events of more generations."""

SAMPLED: Final = frozenset("13579bdf")
"""The last digits of a traceparent whose flag `sampled` is set."""

TRACE_ID: Final = slice(3, 35)
"""Of a traceparent."""

KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OpenTelemetrySpan:
    """A span of OpenTelemetry. No message of an exception is recorded: those of drivers quote values."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))


class OpenTelemetryRecorder:
    """Makes spans with a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        parents: Iterable[str | None],
        attributes: Attributes,
        *,
        begins_trace: bool,
        began_ns: int | None,
    ) -> Iterator[Span]:
        parent, contexts = trace.get_current_span(), contexts_of(parents)
        if not parent.get_span_context().is_valid:
            if contexts:
                parent = NonRecordingSpan(contexts[0])
            elif not begins_trace:
                yield NO_SPAN
                return
        own = parent.get_span_context().trace_id
        with self._tracer.start_as_current_span(
            name,
            trace.set_span_in_context(parent),
            KINDS[kind],
            attributes,
            links=[Link(context) for context in contexts if context.trace_flags.sampled and context.trace_id != own],
            start_time=began_ns,
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            made = OpenTelemetrySpan(started)
            try:
                yield made
            except asyncio.CancelledError:
                made.set({"gengui.canceled": True})
                raise
            except Exception as error:
                made.fail(type(error).__name__)
                raise

    def traceparent(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        return (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else None
        )

    def ids(self) -> SpanIds | None:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return SpanIds(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))


def contexts_of(traceparents: Iterable[str | None]) -> list[SpanContext]:
    """One of each trace: the first that is sampled, and up to LINKS_MAX others that are; if none is, the first of all.
    Pure."""
    known = dict.fromkeys(one for one in traceparents if one)
    sampled: dict[str, str] = {}
    for one in known:
        if one[-1] in SAMPLED:
            sampled.setdefault(one[TRACE_ID], one)
    valid = (one for one in sampled.values() or known if valid_traceparent(one))
    return [_context(one) for one in islice(valid, 1 + LINKS_MAX if sampled else 1)]


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
