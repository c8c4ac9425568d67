"""The plain fold of one partition: record by record, with its states in the staging database.

Only the resolutions of dead letters come from PostgreSQL, because they do not follow from the log: which were retried
or discarded, and which the database had rejected. A retried dead letter was folded together with the events parked
behind it, in the order of the log, so it folds here like any other record; a discarded one is skipped and parks no
later event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, decode_record
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.projecting.folding import FoldState, fold_records
from gengui_stream.projections.outcomes import PARKED, DeadLettered, Outcome, Record
from gengui_stream.recovery.verification.expected_rows import Transition
from gengui_stream.recovery.verification.staging import Progress, Staging


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """The stored facts of a dead letter. `resolution` is None while it is open."""

    reason: str
    detail: str
    resolution: str | None

    @property
    def discarded(self) -> bool:
        """A parked event cannot be discarded, only the dead letter in front of it."""
        return self.resolution == "discarded" and self.reason != PARKED


@dataclass(slots=True)
class Folded:
    """The outcome of each record, and what changed."""

    outcomes: list[Outcome] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)


class PartitionFold:
    """Holds the records of one call in memory, and no more."""

    def __init__(self, staging: Staging, place: PartitionPlace) -> None:
        self._staging = staging
        self._place = place

    def feed(self, records: Sequence[Record], letters: Mapping[int, LetterFacts]) -> Folded:
        """Folds the next records, which must follow the earlier ones without a gap."""
        decoded = [(record, decode_record(record)) for record in records]
        ids = {item.generation_id for _, item in decoded if item.generation_id is not None}
        earlier, partition = self._staging.load(self._place.partition, ids), self._place.partition
        known, folded = _fold_state(earlier, self._place), Folded()
        for record, item in decoded:
            self._feed_one(record, item, letters.get(record.offset), known, folded)
        changed_at = {key: item.changed_at for key, item in earlier.items()}
        changed_at |= {each.after.generation_id: each.offset for each in folded.transitions}
        self._staging.save(partition, {key: _progress(key, known, changed_at.get(key, -1)) for key in ids})
        return folded

    def _feed_one(
        self, record: Record, item: Decoded, letter: LetterFacts | None, known: FoldState, folded: Folded
    ) -> None:
        before = known.states.get(item.generation_id) if item.generation_id is not None else None
        folded.outcomes.append(fold_one(record, item, letter, known))
        if isinstance(item, (Undecodable, UnknownType)):
            return
        after = known.states.get(item.generation_id)
        if after is not None and after is not before:
            folded.transitions.append(Transition(before, after, item, record.offset))


def _fold_state(earlier: Mapping[UUID, Progress], place: PartitionPlace) -> FoldState:
    return FoldState(
        {key: item.state for key, item in earlier.items() if item.state is not None},
        {key for key, item in earlier.items() if item.parked},
        {key: item.unrequested for key, item in earlier.items() if item.unrequested},
        place,
    )


def _progress(key: UUID, known: FoldState, changed_at: int) -> Progress:
    return Progress(known.states.get(key), changed_at, known.unrequested.get(key, ()), key in known.parked)


def fold_one(record: Record, decoded: Decoded, letter: LetterFacts | None, known: FoldState) -> Outcome:
    """The outcome of the next record of the partition. `letter`: the stored dead letter of its offset."""
    generation_id = decoded.generation_id
    if letter is not None and letter.discarded:
        return DeadLettered(record, generation_id, letter.reason, letter.detail)
    if letter is not None and _held_back(letter, decoded):
        if generation_id is not None:
            known.parked.add(generation_id)
        return DeadLettered(record, generation_id, letter.reason, letter.detail)
    [outcome] = fold_records([(record, decoded)], known)
    return outcome


def _held_back(letter: LetterFacts, decoded: Decoded) -> bool:
    """Whether the dead letter was caused by the database's rejection or by an older version that could not decode the
    record, so that it stays until it is retried although this fold succeeds."""
    return letter.resolution is None and letter.reason != PARKED and not isinstance(decoded, Undecodable)
