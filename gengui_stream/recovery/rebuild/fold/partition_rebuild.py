"""Folds one partition of the log into the shadow schema, in large transactions and without side effects.

The fold is that of the agents, and so are the statements for the rows that change. Rows that never change are sent by
COPY. In memory are the states of the generations in progress, at most CACHED_STATES of a partition, and one chunk of
records; any other state is read again from the shadow's own tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from gengui_stream.log.codec import Decoded, UnknownType
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.rejections import rejects_value
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.dead_letter_limits import DeadLetterCount
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records, generation_ids, requested_ids
from gengui_stream.projecting.owned_partition import OwnedPartition, load_states
from gengui_stream.projections import (
    daily_counts,
    dead_letters,
    generation_requests,
    generation_states,
    provider_statistics,
    provider_usage,
    timeline,
)
from gengui_stream.projections.generation_requests import RequestRow
from gengui_stream.projections.outcomes import DeadLettered, Ignored, Outcome, Record, Tally, transitions
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.recovery.rebuild.fold.timeline_copy import encoded
from gengui_stream.recovery.rebuild.shadow.connection import ShadowConnection
from gengui_stream.recovery.verification.reference_fold import LetterFacts, fold_one

LETTER_COLUMNS: Final = (
    *("topic", "partition", "log_offset", "generation_id", "reason", "detail", "record_key", "record_value"),
    "appended_at",
)
DECIDED_COLUMNS: Final = (*LETTER_COLUMNS, "created_at", "resolved_at", "resolution")

UNREQUESTED_COLUMNS: Final = ("partition", "generation_id", "event_id", "log_offset")

UNREQUESTED: Final = """
SELECT generation_id, event_id FROM projections.unrequested_events WHERE partition = $1 AND generation_id = ANY($2)
GROUP BY generation_id, event_id ORDER BY min(log_offset)
"""

HAS_UNREQUESTED: Final = "SELECT FROM projections.unrequested_events WHERE partition = $1 LIMIT 1"


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter that stays one. Discarded by an operator, which does not follow from the log: the record is not
    folded and parks no later one. Or open (`resolved_at` is None), in a rebuild of some tables alone: the others have
    not folded it either."""

    facts: LetterFacts
    created_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Target:
    """What is built: `tables` are written besides those that the fold needs."""

    topic: str
    place: PartitionPlace
    tables: frozenset[str]


class PartitionRebuild:
    """One call at a time. `next_offset`: of the shadow's checkpoint."""

    def __init__(
        self,
        connection: ShadowConnection,
        target: Target,
        held: OwnedPartition,
        kept: Mapping[int, KeptLetter],
        *,
        has_unrequested: bool,
    ) -> None:
        self._connection = connection
        self._target = target
        self._held = held
        self._kept = kept
        self._has_unrequested = has_unrequested

    @property
    def next_offset(self) -> int:
        return self._held.claim.next_offset

    async def project(self, records: Sequence[Record]) -> None:
        """Commits the rows of the next records, which must follow the checkpoint without a gap. A record with a value
        that PostgreSQL refuses becomes a dead letter. Raises FencedError when another rebuild goes on with this one."""
        decoded = decode_records(records)
        known = await self._known(decoded)
        outcomes = self._folded(decoded, known)
        try:
            await self._commit(outcomes, known)
        except Exception as error:
            if not rejects_value(error):
                raise
            await self._isolate(records, error)

    async def _isolate(self, records: Sequence[Record], error: Exception) -> None:
        if len(records) > 1:
            for half in (records[: len(records) // 2], records[len(records) // 2 :]):
                await self.project(half)
            return
        [(record, item)] = decode_records(records)
        detail = f"{type(error).__name__}: {error}"[:500]
        known = FoldState(parked=set(self._held.parked))
        if item.generation_id is not None:
            known.parked.add(item.generation_id)
        await self._commit([DeadLettered(record, item.generation_id, "refused_by_database", detail)], known)

    async def _known(self, decoded: Sequence[tuple[Record, Decoded]]) -> FoldState:
        [states] = await load_states(self._connection, [(self._held, generation_ids(decoded))])
        unrequested: dict[UUID, tuple[UUID, ...]] = {}
        if self._has_unrequested:
            new = requested_ids(decoded).difference(states)
            for row in await self._connection.fetch(UNREQUESTED, self._target.place.partition, list(new)):
                unrequested[row["generation_id"]] = (*unrequested.get(row["generation_id"], ()), row["event_id"])
        return FoldState(states, set(self._held.parked), unrequested, self._target.place)

    def _folded(self, decoded: Sequence[tuple[Record, Decoded]], known: FoldState) -> list[Outcome]:
        if not self._kept or not any(record.offset in self._kept for record, _ in decoded):
            return fold_records(decoded, known)
        return [fold_one(record, item, self._facts(record.offset), known) for record, item in decoded]

    def _facts(self, offset: int) -> LetterFacts | None:
        letter = self._kept.get(offset)
        return letter.facts if letter is not None else None

    async def _commit(self, outcomes: Sequence[Outcome], known: FoldState) -> None:
        next_offset = outcomes[-1].record.offset + 1
        move = checkpoints.Move(self._held.claim, next_offset, Tally().count(outcomes))
        writes = [write for write in self._writes(outcomes) if write.rows]
        early = self._unrequested_rows(outcomes)
        async with self._connection.transaction():
            await self._copy(outcomes)
            if early:
                await self._connection.copy("unrequested_events", UNREQUESTED_COLUMNS, early)
            await checkpoints.commit(self._connection, self._target.topic, [move], writes=writes)
        self._has_unrequested = self._has_unrequested or bool(early)
        self._held.advance(next_offset, known.states, known.parked, DeadLetterCount())

    async def _copy(self, outcomes: Sequence[Outcome]) -> None:
        requests = generation_requests.rows_of(outcomes)
        await self._connection.copy("generation_requests", RequestRow._fields, requests)
        if "timeline" in self._target.tables:
            rows = timeline.rows_of(outcomes, self._target.place.partition)
            await self._connection.copy_encoded("timeline", TimelineRow._fields, encoded(rows))
        await self._copy_letters(outcomes)

    async def _copy_letters(self, outcomes: Sequence[Outcome]) -> None:
        """Also when they are not asked for: an interrupted rebuild reads from them what is parked."""
        rows = dead_letters.rows_of(outcomes, self._target.topic, self._target.place.partition)
        if not rows:
            return
        letters = [(row, self._kept.get(offset)) for row in rows if isinstance(offset := row[2], int)]
        undecided = [row for row, letter in letters if letter is None or letter.resolved_at is None]
        decided = [
            (*row, letter.created_at, letter.resolved_at, "discarded")
            for row, letter in letters
            if letter is not None and letter.resolved_at is not None
        ]
        await self._connection.copy("dead_letters", LETTER_COLUMNS, undecided)
        await self._connection.copy("dead_letters", DECIDED_COLUMNS, decided)

    def _writes(self, outcomes: Sequence[Outcome]) -> list[Write]:
        partition, tables = self._target.place.partition, self._target.tables
        moved = transitions(outcomes)
        writes = [generation_states.write(generation_states.rows_of(outcomes, partition))]
        if "daily_counts" in tables:
            writes.append(daily_counts.write(daily_counts.rows_of(daily_counts.count(moved), partition)))
        if "provider_minutes" in tables:
            minutes = provider_statistics.rows_of(provider_statistics.count(moved), partition)
            latencies = provider_statistics.count_latencies(moved)
            writes.append(provider_statistics.write(minutes))
            rows = provider_statistics.latency_rows_of(latencies, partition)
            writes.append(provider_statistics.write_latencies(rows))
        if "provider_usage" in tables:
            writes.append(provider_usage.write(provider_usage.rows_of(provider_usage.count(moved), partition)))
        return writes

    def _unrequested_rows(self, outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
        """The events that came before the request of their generation, which the fold remembers until it comes."""
        partition = self._target.place.partition
        return [
            (partition, outcome.event.generation_id, outcome.event.id, outcome.record.offset)
            for outcome in outcomes
            if isinstance(outcome, Ignored) and outcome.state is None and not isinstance(outcome.event, UnknownType)
        ]
