"""A generation as it was: after each of its events, up to any moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from pydantic import TypeAdapter

from gengui_stream.domain.generation.state import Generation
from gengui_stream.errors import PermanentError
from gengui_stream.log.codec import decode_record, named_type
from gengui_stream.log.lookup.records import LogLookup
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections.outcomes import Applied, DeadLettered, Forwarded, Ignored, appended_at
from gengui_stream.recovery.generations.records import records_of
from gengui_stream.recovery.generations.refold import Refold, Step
from gengui_stream.recovery.generations.scan import Progress, unseen
from gengui_stream.recovery.generations.stored_rows import StoredRows
from gengui_stream.settings import Settings
from gengui_stream.stamps import utc_now

Moment: TypeAlias = Position | datetime
Change: TypeAlias = tuple[object, object]

_state: Final = TypeAdapter(Generation)


class NoSuchMomentError(PermanentError):
    """The generation has no state at that moment."""


@dataclass(frozen=True, slots=True)
class Journey:
    """`steps`: up to the moment, in the order of the log. `later`: the number of records after it. `state`: after the
    last step; None: the generation was not requested yet."""

    generation_id: UUID
    steps: Sequence[Step]
    later: int
    state: Generation | None


async def travel(
    settings: Settings,
    pool: Pool,
    log: LogLookup,
    generation_id: UUID,
    at: Moment | None,
    *,
    scanned: bool = False,
    progress: Progress = unseen,
) -> Journey:
    """`at`: the last record, or a time; None: now. Raises NoSuchMomentError for a moment before its first event and one
    that has not come, NotRecordedError for an unknown generation, PermanentError when not all of its events are known;
    TransientError when a server is unavailable."""
    known = await records_of(settings, pool, log, generation_id, scanned=scanned, progress=progress)
    refolded = known.refolded(settings.events_partitions)
    if refolded.gone:
        raise PermanentError(f"the log has no record at {refolded.gone[0]}: what is left would be another state")
    if at is not None:
        await _check(at, refolded, known.stored, log)
    steps = [step for step in refolded.steps if at is None or _until(step, at)]
    return Journey(generation_id, steps, len(refolded.steps) - len(steps), _after(steps, refolded.home))


def _after(steps: Sequence[Step], home: int) -> Generation | None:
    own = [step.after for step in steps if step.position.partition == home]
    return own[-1] if own else None


async def _check(at: Moment, refolded: Refold, stored: StoredRows, log: LogLookup) -> None:
    match at:
        case Position():
            await _check_position(at, refolded, stored, log)
        case datetime():
            _check_time(at, refolded)
        case _:
            assert_never(at)


async def _check_position(at: Position, refolded: Refold, stored: StoredRows, log: LogLookup) -> None:
    home, ends = refolded.home, await log.ends()
    if at.partition not in ends:
        raise NoSuchMomentError(f"the log has no partition {at.partition}")
    if at.partition != home:
        raise NoSuchMomentError(f"the events of {refolded.generation_id} are on partition {home}, not {at.partition}")
    if at.offset >= ends[home]:
        raise NoSuchMomentError(f"{at} is beyond the end of the log: partition {home} ends before {home}:{ends[home]}")
    if at.offset >= stored.next_offsets.get(home, 0):
        raise NoSuchMomentError(f"{at} is not projected yet: partition {home} is at {stored.next_offsets.get(home, 0)}")
    first = next((step.position for step in refolded.steps if step.position.partition == home), None)
    if first is None or at < first:
        raise NoSuchMomentError(f"{at} is before the first event of {refolded.generation_id}, at {first}")


def _check_time(at: datetime, refolded: Refold) -> None:
    first = min((appended_at(step.record) for step in refolded.steps), default=None)
    if at > utc_now():
        raise NoSuchMomentError(f"{at:%Y-%m-%d %H:%M:%S %Z} has not come yet")
    if first is None:
        raise PermanentError(f"none of the records that the projections name is of {refolded.generation_id}")
    if at < first:
        raise NoSuchMomentError(f"{at.isoformat()} is before the first event, of {first.isoformat()}")


def _until(step: Step, at: Moment) -> bool:
    """Events on another partition change nothing: a position says nothing about them."""
    if isinstance(at, Position):
        return step.position.partition != at.partition or step.position <= at
    return appended_at(step.record) <= at


def type_of(step: Step) -> str:
    """The type of its event; of a record that cannot be decoded, the reason in brackets."""
    return named_type(decode_record(step.record))


def effect_of(step: Step) -> str:
    """`applied`, or why the event changed nothing."""
    match step.outcome:
        case Applied():
            return "applied"
        case Ignored(reason=reason):
            return f"ignored: {reason}"
        case Forwarded():
            return "ignored: wrong_partition"
        case DeadLettered(reason=reason):
            return f"dead: {reason}"
        case _:
            assert_never(step.outcome)


def document_of(state: Generation | None) -> dict[str, object]:
    """Every field of the fold's state, as JSON; empty without one."""
    if state is None:
        return {}
    values: list[object] = _state.dump_python(state, mode="json")
    return dict(zip(Generation._fields, values, strict=True))


def changes_of(step: Step) -> Mapping[str, Change]:
    """The fields that the event changed, with the values before and after it."""
    before, after = document_of(step.before), document_of(step.after)
    every = (name for name in Generation._fields if before.get(name) != after.get(name))
    return {name: (before.get(name), after.get(name)) for name in every}
