"""The outcome of each record of the log: applied, ignored for a reason, or dead-lettered; none is skipped (law 4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Decoded, UnknownType
from schemas.events import Event


class Record(Protocol):
    """A record of the log, from any consumer. `timestamp`: Unix milliseconds."""

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
    """The event is recorded and changes nothing. `state`: the current one, None when there is no such generation.
    `remembered`: the state now recognises the event, and must be stored."""

    record: Record
    event: Event | UnknownType
    state: Generation | None
    reason: IgnoredReason
    remembered: bool = False


class Forwarded(NamedTuple):
    """Another client's partitioner put the record on this partition, where its generation is not: it is appended again
    on the right one, and counts as ignored here."""

    record: Record
    decoded: Decoded
    generation_id: UUID


class DeadLettered(NamedTuple):
    """The record could not be decoded or stored, or its generation has an earlier dead letter (`PARKED`)."""

    record: Record
    generation_id: UUID | None
    reason: str
    detail: str


Outcome: TypeAlias = Applied | Ignored | Forwarded | DeadLettered

PARKED: Final = "parked"


@dataclass(slots=True)
class Tally:
    """The number of records of each outcome; their sum is the number of records."""

    applied: int = 0
    ignored: int = 0
    dead_lettered: int = 0

    def count(self, outcomes: Iterable[Outcome]) -> "Tally":
        for outcome in outcomes:
            match outcome:
                case Applied():
                    self.applied += 1
                case Ignored() | Forwarded():
                    self.ignored += 1
                case DeadLettered():
                    self.dead_lettered += 1
                case _:
                    assert_never(outcome)
        return self


def transitions(outcomes: Iterable[Outcome]) -> list[Applied]:
    """The outcomes with a new generation, status or attempt, a deletion, or a request to cancel or to make a thumbnail:
    a few among many progress reports, and all that counts and jobs depend on."""
    return [
        outcome
        for outcome in outcomes
        if isinstance(outcome, Applied)
        and (
            (before := outcome.before) is None
            or before.status is not outcome.after.status
            or before.attempt != outcome.after.attempt
            or before.cancel_requested is not outcome.after.cancel_requested
            or before.deleted_at is not outcome.after.deleted_at
            or outcome.event.type == "thumbnail.requested"
        )
    ]


_LATEST_MS: Final = 4_102_444_800_000  # the year 2100


def appended_at(record: Record) -> datetime:
    """The log's time of the record, limited to the years 1970 to 2100."""
    return _moment(min(max(record.timestamp or 0, 0), _LATEST_MS))


@lru_cache(1_024)
def _moment(milliseconds: int) -> datetime:
    """Cached: of the records in a fetch, many were appended in the same millisecond."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
