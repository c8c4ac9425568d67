"""Folds the records of one partition in order. Pure and total."""

from collections.abc import Iterable, MutableMapping
from uuid import UUID

from gengui_stream.domain.generation.evolve import IgnoredReason, apply
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, decode, plausible_time
from gengui_stream.projections.outcomes import PARKED, Applied, DeadLettered, Ignored, Outcome, Record


def fold_records(
    records: Iterable[tuple[Record, Decoded]], states: MutableMapping[UUID, Generation], parked: set[UUID]
) -> list[Outcome]:
    """One outcome for each record. Updates `states` and `parked` in place, in the order of the records."""
    return [_fold_one(record, decoded, states, parked) for record, decoded in records]


def decode_records(records: Iterable[Record]) -> list[tuple[Record, Decoded]]:
    return [(record, decode(record.key, record.value)) for record in records]


def generation_ids(decoded: Iterable[tuple[Record, Decoded]]) -> set[UUID]:
    """The generations whose states the fold of these records needs."""
    return {item.generation_id for _, item in decoded if item.generation_id is not None}


def _fold_one(record: Record, decoded: Decoded, states: MutableMapping[UUID, Generation], parked: set[UUID]) -> Outcome:
    generation_id = decoded.generation_id
    if isinstance(decoded, Undecodable):
        if generation_id is not None:
            parked.add(generation_id)
        return DeadLettered(record, generation_id, decoded.reason, decoded.detail)
    if generation_id is None:
        return Ignored(record, decoded, None, IgnoredReason.UNKNOWN_TYPE)
    if generation_id in parked:
        return DeadLettered(record, generation_id, PARKED, "waits behind an earlier dead letter of its generation")
    state = states.get(generation_id)
    if isinstance(decoded, UnknownType):
        return Ignored(record, decoded, state, IgnoredReason.UNKNOWN_TYPE)
    if not plausible_time(decoded.occurred_at, record.timestamp):
        return Ignored(record, decoded, state, IgnoredReason.IMPLAUSIBLE_TIME)
    result = apply(state, decoded)
    if isinstance(result, IgnoredReason):
        return Ignored(record, decoded, state, result)
    states[generation_id] = result
    return Applied(record, decoded, state, result)
