"""Folding records of one partition, in order: pure, and total."""

from collections.abc import Iterable, MutableMapping
from uuid import UUID

from gengui_stream.domain.generation.evolve import Ignored, judge
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, decode, plausible_time
from gengui_stream.projections.outcomes import PARKED, Applied, Dead, Entry, Inert, Record


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
