"""Creates the stamps of events: id, time, producer and trace."""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.identifiers import new_id
from gengui_stream.tracing.spans import current_traceparent


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_stamp(producer: str, *, correlation_id: str | None = None) -> EventStamp:
    """For a fact that is recorded for the first time, now. Its trace context is the current one."""
    return EventStamp(new_id(), utc_now(), producer, correlation_id, current_traceparent())


def repeatable_stamp(
    namespace: UUID,
    fact: str,
    producer: str,
    *,
    occurred_at: datetime | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
) -> EventStamp:
    """For a fact that may be recorded again, for example after a crash: the same `fact` has the same event id.
    `traceparent`: where no span is current."""
    moment = utc_now() if occurred_at is None else occurred_at
    return EventStamp(uuid5(namespace, fact), moment, producer, correlation_id, current_traceparent() or traceparent)
