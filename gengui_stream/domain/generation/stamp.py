"""The envelope fields of an event, on which no decision depends."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID


class EnvelopeFields(TypedDict):
    """The keyword arguments of any event's envelope."""

    id: UUID
    generation_id: UUID
    occurred_at: datetime
    producer: str
    correlation_id: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class EventStamp:
    """`event_id` is the same for every repetition of the same fact; `occurred_at` is the producer's clock."""

    event_id: UUID
    occurred_at: datetime
    producer: str
    correlation_id: str | None = None
    traceparent: str | None = None

    def envelope(self, generation_id: UUID) -> EnvelopeFields:
        return {
            "id": self.event_id,
            "generation_id": generation_id,
            "occurred_at": self.occurred_at,
            "producer": self.producer,
            "correlation_id": self.correlation_id,
            "traceparent": self.traceparent,
        }
