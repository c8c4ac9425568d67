"""The ids of the current span as fields of each line of the log."""

from structlog.typing import EventDict, WrappedLogger

from gengui_stream.tracing.spans import current_ids


def add_trace_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: `trace_id` and `span_id`, as a collector shows them."""
    ids = current_ids()
    if ids is not None:
        event.setdefault("trace_id", ids.trace_id)
        event.setdefault("span_id", ids.span_id)
    return event
