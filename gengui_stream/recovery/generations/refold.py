"""Folds one generation again from the log, by the offsets of its own records: milliseconds, whatever the log's size.

The fold is that of a verification (`reference_fold`): record by record, with nothing from the database but the
resolutions of dead letters.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Decoded, decode_record
from gengui_stream.log.lookup.records import LogLookup
from gengui_stream.log.partitions import PartitionPlace, partition_of
from gengui_stream.log.positions import Position
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.projecting.folding import FoldState
from gengui_stream.projections.outcomes import Outcome
from gengui_stream.recovery.verification.reference_fold import LetterFacts, fold_one


@dataclass(frozen=True, slots=True)
class Step:
    """One record of the generation, and the state on its partition before and after it; None: there was none."""

    record: LogRecord
    outcome: Outcome
    before: Generation | None
    after: Generation | None

    @property
    def position(self) -> Position:
        return Position(self.record.partition, self.record.offset)

    @property
    def changed(self) -> bool:
        """Whether the stored state changes: also by a duplicate that it then recognises."""
        return self.after is not self.before


@dataclass(frozen=True, slots=True)
class Refold:
    """`steps`: by partition, each in the order of the log; a foreign producer may have put events on another partition
    than `home`, the generation's. `gone`: the log has no record there. `foreign`: it has one of another generation."""

    generation_id: UUID
    home: int
    steps: tuple[Step, ...]
    gone: tuple[Position, ...]
    foreign: tuple[Position, ...]

    @property
    def last_change(self) -> Step | None:
        """The step whose state is the current one; None: the generation has no state."""
        return next(
            (step for step in reversed(self.steps) if step.position.partition == self.home and step.changed), None
        )

    @property
    def state(self) -> Generation | None:
        return self.last_change.after if self.last_change else None


def home_of(generation_id: UUID, partitions: int) -> int:
    """The partition of its events."""
    return partition_of(str(generation_id).encode(), partitions)


async def refold(
    log: LogLookup,
    generation_id: UUID,
    positions: Collection[Position],
    letters: Mapping[Position, LetterFacts],
    partitions: int,
    *,
    upto: Position | None = None,
) -> Refold:
    """`positions`: of all records of the generation; `letters`: its dead letters; both from `stored_rows`. `upto`: the
    last record to fold, and on other partitions all. Raises TransientError when the broker does not answer."""
    wanted = [each for each in positions if upto is None or each.partition != upto.partition or each <= upto]
    return fold_again(generation_id, wanted, await read_at(log, wanted), letters, partitions)


async def read_at(log: LogLookup, positions: Iterable[Position]) -> dict[Position, LogRecord]:
    """The records at these positions, without those that the log does not have."""
    offsets: defaultdict[int, set[int]] = defaultdict(set)
    for position in positions:
        offsets[position.partition].add(position.offset)
    read = await asyncio.gather(*(log.records(partition, own) for partition, own in offsets.items()))
    return {Position(record.partition, record.offset): record for found in read for record in found.values()}


def fold_again(
    generation_id: UUID,
    positions: Iterable[Position],
    records: Mapping[Position, LogRecord],
    letters: Mapping[Position, LetterFacts],
    partitions: int,
) -> Refold:
    """Pure. Each partition is folded by itself, as the projector does."""
    known: dict[int, FoldState] = {}
    steps: list[Step] = []
    gone: list[Position] = []
    foreign: list[Position] = []
    for position in sorted(set(positions)):
        record = records.get(position)
        if record is None:
            gone.append(position)
        elif (decoded := decode_record(record)).generation_id != generation_id:
            foreign.append(position)
        else:
            place = PartitionPlace(position.partition, partitions)
            state = known.setdefault(position.partition, FoldState(place=place))
            steps.append(_step(generation_id, record, decoded, letters.get(position), state))
    home = home_of(generation_id, partitions)
    return Refold(generation_id, home, tuple(steps), tuple(gone), tuple(foreign))


def _step(
    generation_id: UUID, record: LogRecord, decoded: Decoded, letter: LetterFacts | None, known: FoldState
) -> Step:
    before = known.states.get(generation_id)
    outcome = fold_one(record, decoded, letter, known)
    return Step(record, outcome, before, known.states.get(generation_id))
