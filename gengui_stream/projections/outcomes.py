"""What became of each record of the log: applied, ignored for a reason, or dead-lettered; none is skipped (law 4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.generation.evolve import IgnoredReason
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import UnknownType
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


class Ignored(NamedTuple):
    """The event is kept and changes nothing. `state` is the generation as it stands, if there is one."""

    record: Record
    event: Event | UnknownType
    state: Generation | None
    reason: IgnoredReason


class DeadLettered(NamedTuple):
    """No event could be read or folded, or the event waits behind one that could not (`PARKED`)."""

    record: Record
    generation_id: UUID | None
    reason: str
    detail: str


Outcome: TypeAlias = Applied | Ignored | DeadLettered

PARKED: Final = "parked"


@dataclass(slots=True)
class Tally:
    """How many records went where; their sum is the number of records."""

    applied: int = 0
    ignored: int = 0
    dead_lettered: int = 0

    def count(self, outcomes: Iterable[Outcome]) -> "Tally":
        for outcome in outcomes:
            match outcome:
                case Applied():
                    self.applied += 1
                case Ignored():
                    self.ignored += 1
                case DeadLettered():
                    self.dead_lettered += 1
                case _:
                    assert_never(outcome)
        return self


def transitions(outcomes: Iterable[Outcome]) -> list[Applied]:
    """Those that took a generation to another status or attempt, or requested its end or a thumbnail: few among reports
    of progress, and all that counts and jobs follow from."""
    return [
        outcome
        for outcome in outcomes
        if isinstance(outcome, Applied)
        and (
            (before := outcome.before) is None
            or before.status is not outcome.after.status
            or before.attempt != outcome.after.attempt
            or before.cancel_requested is not outcome.after.cancel_requested
            or outcome.event.type == "thumbnail.requested"
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
