"""Live tables for operators: the generations in flight, and the number of events of each type. No role reads them.

A record that cannot be decoded is skipped here; the projector dead-letters it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Final

import faust
from faust.types import StreamT, TopicT
from faust.types.tables import TableT

from gengui_stream.domain.generation.evolve import LiveEvent
from gengui_stream.log.changelogs import KEPT_WINDOWS
from gengui_stream.log.codec import Undecodable, UnknownType, decode
from gengui_stream.projecting.batches import RecordBatch, sliced
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from schemas.events import (
    Event,
    GenerationAccepted,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationRequested,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
    ThumbnailCreated,
    ThumbnailFailed,
    ThumbnailRequested,
)

BATCH: Final = 500
"""Records in one message to the agent: each record may become a message to the changelog."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A generation that has not ended, limited to what the table shows."""

    status: str
    attempt: int
    max_attempts: int
    since: str


def add_live_tables(app: faust.App, topic: TopicT, settings: Settings) -> None:
    in_flight = app.Table("in_flight", key_type=str, partitions=settings.events_partitions)
    window_s = settings.in_flight_window_s
    counts = app.Table("events_by_type", default=int, key_type=str, partitions=settings.events_partitions).tumbling(
        window_s, expires=KEPT_WINDOWS * window_s
    )

    @app.agent(topic, name="live_tables", concurrency=1)
    async def live_tables(stream: StreamT[RecordBatch]) -> None:
        async for batch in stream:
            events = list(_events(batch.records))
            for event in events:
                _follow(in_flight, event)
            for kind, number in Counter(event.type for event in events).items():
                # Each partition counts under a key of its own: it has a changelog of its own.
                counts[f"{kind}|{batch.partition}"] += number


def _events(records: Iterable[Record]) -> Iterator[Event]:
    for record in records:
        decoded = decode(record.key, record.value)
        if not isinstance(decoded, Undecodable | UnknownType):
            yield decoded


def _follow(table: TableT[str, dict[str, object]], event: Event) -> None:
    key = str(event.generation_id)
    known = table.get(key)
    before = None if known is None else _parse(known)
    after = step(before, event)
    if after is not None and after != before:
        table[key] = asdict(after)
    elif after is None and before is not None:
        table.pop(key)


def _parse(row: dict[str, object]) -> InFlight:
    return InFlight(str(row["status"]), int(str(row["attempt"])), int(str(row["max_attempts"])), str(row["since"]))


def step(before: InFlight | None, event: Event) -> InFlight | None:
    """The row after the event; None for no row. An ended generation does not return: only a request creates a row."""
    if isinstance(event, GenerationRequested):
        return before or InFlight("queued", 1, event.max_attempts, event.occurred_at.isoformat())
    if before is None or isinstance(event, ThumbnailRequested | ThumbnailCreated | ThumbnailFailed):
        return before
    if isinstance(event, GenerationDeleted):
        return None
    return _live(before, event)


def _live(before: InFlight, event: LiveEvent) -> InFlight | None:
    if event.attempt is not None and event.attempt != before.attempt:
        return before
    since = event.occurred_at.isoformat()
    match event:
        case GenerationDispatched() | GenerationAccepted():
            return replace(before, status="dispatched", since=since) if before.status == "queued" else before
        case GenerationStarted() | GenerationProgressed() | GenerationHeartbeatReceived():
            running = before.status in {"processing", "canceling"}
            return before if running else replace(before, status="processing", since=since)
        case GenerationCancelRequested():
            return None if before.status == "queued" else replace(before, status="canceling", since=since)
        case GenerationRetried():
            return None if before.status == "canceling" else _again(before, since) or before
        case GenerationFailed():
            return _again(before, since) if event.error.retryable and before.status != "canceling" else None
        case GenerationCompleted() | GenerationCanceled() | GenerationTimedOut() | GenerationModerated():
            return None


def _again(before: InFlight, since: str) -> InFlight | None:
    if before.attempt >= before.max_attempts:
        return None
    return replace(before, status="queued", attempt=before.attempt + 1, since=since)


def window_parts(records: Sequence[Record], window_s: float) -> Iterator[Sequence[Record]]:
    """Splits the records where a window ends: faust counts a whole message at one timestamp, its last record's."""
    for _, part in groupby(records, key=lambda record: int((record.timestamp or 0) / 1000 // window_s)):
        yield from sliced(tuple(part), BATCH)
