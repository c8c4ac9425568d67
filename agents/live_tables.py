"""Live tables for operators: the generations in flight, and the number of events of each type. No role reads them.

A record that cannot be decoded is skipped here; the projector dead-letters it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import faust
from faust.types import StreamT, TopicT
from faust.types.tables import TableT
from faust.types.transports import ProducerT
from pydantic import TypeAdapter

from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.changelogs import KEPT_WINDOWS, STATE
from gengui_stream.log.codec import Undecodable, UnknownType, decode_record
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.projecting.batches import RecordBatch, sliced
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from schemas.events import Event

BATCH: Final = 500
"""Records in one message to the agent: each record may become a message to the changelog."""

_state: Final = TypeAdapter(Generation)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A generation that has not ended. `since`: the time of the event that made its shown status or attempt."""

    state: Generation
    since: str

    @property
    def status(self) -> str:
        return "canceling" if self.state.cancel_requested else self.state.status

    @property
    def shown(self) -> dict[str, object]:
        """What `gengui-stream tables` prints."""
        attempt, max_attempts = self.state.attempt, self.state.max_attempts
        return {"status": self.status, "attempt": attempt, "max_attempts": max_attempts, "since": self.since}


def add_live_tables(app: faust.App, topic: TopicT, settings: Settings) -> None:
    in_flight = app.Table("in_flight", key_type=str, partitions=settings.events_partitions)
    window_s = settings.in_flight_window_s
    counts = app.Table("events_by_type", default=int, key_type=str, partitions=settings.events_partitions).tumbling(
        window_s, expires=KEPT_WINDOWS * window_s
    )

    @app.agent(topic, name="live_tables", concurrency=1)
    async def live_tables(stream: StreamT[RecordBatch]) -> None:
        async for batch in stream:
            events = list(_events(batch.records, PartitionPlace(batch.partition, settings.events_partitions)))
            for event in events:
                _follow(in_flight, event)
            for kind, number in Counter(event.type for event in events).items():
                # Each partition counts under a key of its own: it has a changelog of its own.
                counts[f"{kind}|{batch.partition}"] += number
            await _flushed(app.producer)


async def _flushed(producer: ProducerT) -> None:
    """faust buffers messages to the changelogs without limit, and commits offsets whether they are sent or not. The
    flush of its buffer gives up when no message is sent for 0.1 s."""
    while producer.buffer.size:
        await producer.buffer.flush()
    await producer.flush()


def _events(records: Iterable[Record], place: PartitionPlace) -> Iterator[Event]:
    """Without records on a wrong partition, which the projector forwards to the right one."""
    for record in records:
        decoded = decode_record(record)
        if not isinstance(decoded, Undecodable | UnknownType) and not (record.key and place.is_stray(record.key)):
            yield decoded


def _follow(table: TableT[str, dict[str, object]], event: Event) -> None:
    key = str(event.generation_id)
    known = table.get(key)
    before = None if known is None else from_row(known)
    after = step(before, event)
    if after is None:
        if known is not None:
            table.pop(key)
    elif after is not before:
        table[key] = as_row(after)


def as_row(in_flight: InFlight) -> dict[str, object]:
    """A row as the changelog has it, in JSON."""
    values: list[object] = _state.dump_python(in_flight.state, mode="json")
    return in_flight.shown | {STATE: dict(zip(Generation._fields, values, strict=True))}


def from_row(row: dict[str, object]) -> InFlight | None:
    """The reverse of `as_row`; None for a row of an earlier version, which had no state."""
    state = row.get(STATE)
    return None if state is None else InFlight(_state.validate_python(state), str(row["since"]))


def step(before: InFlight | None, event: Event) -> InFlight | None:
    """The row after the event, the same object if it changes nothing; None for no row."""
    state = evolve(before.state if before else None, event)
    if state is None or state.terminal or state.deleted_at is not None:
        return None
    if before is None:
        return InFlight(state, event.occurred_at.isoformat())
    if state is before.state:
        return before
    after = InFlight(state, before.since)
    same = (after.status, state.attempt) == (before.status, before.state.attempt)
    return after if same else replace(after, since=event.occurred_at.isoformat())


def window_parts(records: Sequence[Record], window_s: float) -> Iterator[Sequence[Record]]:
    """Splits the records where a window ends: faust counts a whole message at one timestamp, its last record's."""
    for _, part in groupby(records, key=lambda record: int((record.timestamp or 0) / 1000 // window_s)):
        yield from sliced(tuple(part), BATCH)
