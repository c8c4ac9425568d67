"""Folding records of one partition, in order: pure, and total.

Every record becomes exactly one entry: applied, inert (ignored with a reason) or dead. Nothing is skipped.
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.evolve import Ignored, judge
from gengui_stream.domain.generation import Generation
from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, decode, plausible_time
from schemas.events import Event


class Record(Protocol):
    """What a record of the log offers, whichever consumer fetched it. `timestamp` is in Unix milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Applied(NamedTuple):
    """The event changed the generation from `before` to `after`."""

    record: Record
    event: Event
    before: Generation | None
    after: Generation


class Inert(NamedTuple):
    """The event is kept and changes nothing. `state` is the generation as it stands, if there is one."""

    record: Record
    event: Event | UnknownType
    state: Generation | None
    reason: Ignored


class Dead(NamedTuple):
    """No event could be read or folded, or the event waits behind one that could not (`PARKED`)."""

    record: Record
    generation_id: UUID | None
    reason: str
    detail: str


Entry: TypeAlias = Applied | Inert | Dead

PARKED: Final = "parked"


@dataclass(slots=True)
class Tally:
    """How many records went where; their sum is the number of records."""

    applied: int = 0
    ignored: int = 0
    dead_lettered: int = 0

    def count(self, entries: Iterable[Entry]) -> "Tally":
        for entry in entries:
            match entry:
                case Applied():
                    self.applied += 1
                case Inert():
                    self.ignored += 1
                case Dead():
                    self.dead_lettered += 1
                case _:
                    assert_never(entry)
        return self


def fold_records(
    records: Iterable[tuple[Record, Decoded]], states: MutableMapping[UUID, Generation], parked: set[UUID]
) -> list[Entry]:
    """One entry a record. `states` and `parked` are brought up to date in place, in the order of the records."""
    return [_fold_one(record, decoded, states, parked) for record, decoded in records]


def decode_records(records: Iterable[Record]) -> list[tuple[Record, Decoded]]:
    return [(record, decode(record.key, record.value)) for record in records]


def generation_ids(decoded: Iterable[tuple[Record, Decoded]]) -> set[UUID]:
    """The generations whose state folding these records needs."""
    return {item.generation_id for _, item in decoded if item.generation_id is not None}


def _fold_one(record: Record, decoded: Decoded, states: MutableMapping[UUID, Generation], parked: set[UUID]) -> Entry:
    generation_id = decoded.generation_id
    if isinstance(decoded, Undecodable):
        if generation_id is not None:
            parked.add(generation_id)
        return Dead(record, generation_id, decoded.reason, decoded.detail)
    if generation_id is None:
        return Inert(record, decoded, None, Ignored.UNKNOWN_TYPE)
    if generation_id in parked:
        return Dead(record, generation_id, PARKED, "waits behind an earlier dead letter of its generation")
    state = states.get(generation_id)
    if isinstance(decoded, UnknownType):
        return Inert(record, decoded, state, Ignored.UNKNOWN_TYPE)
    if not plausible_time(decoded.occurred_at, record.timestamp):
        return Inert(record, decoded, state, Ignored.IMPLAUSIBLE_TIME)
    judgement = judge(state, decoded)
    if isinstance(judgement, Ignored):
        return Inert(record, decoded, state, judgement)
    states[generation_id] = judgement
    return Applied(record, decoded, state, judgement)


def transitions(entries: Iterable[Entry]) -> list[Applied]:
    """Those that took a generation to another status or attempt, or requested its end or a thumbnail: few among reports
    of progress, and all that counts and jobs follow from."""
    return [
        entry
        for entry in entries
        if isinstance(entry, Applied)
        and (
            (before := entry.before) is None
            or before.status is not entry.after.status
            or before.attempt != entry.after.attempt
            or before.cancel_requested is not entry.after.cancel_requested
            or entry.event.type == "thumbnail.requested"
        )
    ]


_LATEST_MS: Final = 4_102_444_800_000  # the year 2100


def appended_at(record: Record) -> datetime:
    """The log's time of the record, held within what PostgreSQL and people take for a date."""
    return _moment(min(max(record.timestamp or 0, 0), _LATEST_MS))


@lru_cache(1_024)
def _moment(milliseconds: int) -> datetime:
    """Of many records that are read at once, many were appended in the same millisecond."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
