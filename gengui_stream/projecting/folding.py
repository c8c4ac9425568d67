"""Folds the records of one partition in order. Pure and total."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from uuid import UUID

from gengui_stream.domain.generation.evolve import apply, remember, with_unrequested
from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import (
    VALUE_MAX_BYTES,
    Decoded,
    Undecodable,
    UnknownType,
    decode_record,
    generation_of,
    plausible_time,
)
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.projections.outcomes import PARKED, Applied, DeadLettered, Forwarded, Ignored, Outcome, Record
from schemas.events import Event, GenerationRequested


@dataclass(slots=True)
class FoldState:
    """What the fold of a partition knows. `parked`: generations with an open dead letter. `unrequested`: the ids of the
    events that came before the request of their generation, by generation, in the order of the log. `place`: the
    partition; None: every record is taken for one of this partition."""

    states: MutableMapping[UUID, Generation] = field(default_factory=dict)
    parked: set[UUID] = field(default_factory=set)
    unrequested: dict[UUID, tuple[UUID, ...]] = field(default_factory=dict)
    place: PartitionPlace | None = None


def fold_records(records: Iterable[tuple[Record, Decoded]], known: FoldState) -> list[Outcome]:
    """One outcome for each record. Updates `known` in place, in the order of the records."""
    return [_fold_one(record, decoded, known) for record, decoded in records]


def decode_records(records: Iterable[Record]) -> list[tuple[Record, Decoded]]:
    return [(record, decode_record(record)) for record in records]


def generation_ids(decoded: Iterable[tuple[Record, Decoded]]) -> set[UUID]:
    """The generations whose states the fold of these records needs."""
    return {item.generation_id for _, item in decoded if item.generation_id is not None}


def requested_ids(decoded: Iterable[tuple[Record, Decoded]]) -> set[UUID]:
    """The generations that these records request."""
    return {event.generation_id for _, event in decoded if isinstance(event, GenerationRequested)}


def _fold_one(record: Record, decoded: Decoded, known: FoldState) -> Outcome:
    if (forwarded := _forwarded(record, decoded, known)) is not None:
        return forwarded
    generation_id = decoded.generation_id
    if isinstance(decoded, Undecodable):
        if generation_id is not None:
            known.parked.add(generation_id)
        return DeadLettered(record, generation_id, decoded.reason, decoded.detail)
    if generation_id is None:
        return Ignored(record, decoded, None, IgnoredReason.UNKNOWN_TYPE)
    if generation_id in known.parked:
        return DeadLettered(record, generation_id, PARKED, "waits behind an earlier dead letter of its generation")
    state = known.states.get(generation_id)
    if isinstance(decoded, UnknownType):
        newer = decoded.version is not None
        return Ignored(record, decoded, state, IgnoredReason.UNKNOWN_VERSION if newer else IgnoredReason.UNKNOWN_TYPE)
    plausible = plausible_time(decoded.occurred_at, record.timestamp)
    result = apply(state, decoded) if plausible else IgnoredReason.IMPLAUSIBLE_TIME
    if isinstance(result, IgnoredReason):
        return _ignored(record, decoded, result, known)
    if state is None and (earlier := known.unrequested.pop(generation_id, ())):
        result = with_unrequested(result, decoded, earlier)
    known.states[generation_id] = result
    return Applied(record, decoded, state, result)


def _forwarded(record: Record, decoded: Decoded, known: FoldState) -> Forwarded | None:
    """Only a generation that is not on this partition needs the hash of its key. The key decides, so that the right
    partition also gets what this version cannot decode."""
    generation_id = decoded.generation_id
    if known.place is None or record.key is None or generation_id is None or generation_id in known.states:
        return None
    if generation_of(record.key) != generation_id or not known.place.is_stray(record.key):
        return None
    return None if len(record.value or b"") > VALUE_MAX_BYTES else Forwarded(record, decoded, generation_id)


def _ignored(record: Record, event: Event, reason: IgnoredReason, known: FoldState) -> Applied | Ignored:
    """Applied when the event is one too many that has to be remembered, and so ends the generation."""
    generation_id = event.generation_id
    before = known.states.get(generation_id)
    if before is None:
        earlier = known.unrequested.get(generation_id, ())
        known.unrequested[generation_id] = tuple(dict.fromkeys((*earlier, event.id)))
        return Ignored(record, event, None, reason)
    after = remember(before, event, reason)
    if after is before:
        return Ignored(record, event, before, reason)
    known.states[generation_id] = after
    if after.version != before.version:
        return Applied(record, event, before, after)
    return Ignored(record, event, after, reason, remembered=True)
