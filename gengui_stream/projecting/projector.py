"""From records to read models: decode, fold, and commit each batch in one transaction (laws 2, 3 and 4).

A transaction covers one or more partitions, because its cost, here and in PostgreSQL, hardly depends on its size. The
checkpoint of each partition is compared and set separately.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import structlog

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.domain.generation.state import Generation
from gengui_stream.errors import FencedError
from gengui_stream.log.codec import decode_record
from gengui_stream.log.event_log import Forwarding
from gengui_stream.log.gaps import check_no_gap
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.postgres.rejections import meet_in_a_row, rejects_value
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.dead_letter_limits import (
    DEFAULT_LIMITS,
    DeadLetterCount,
    DeadLetterLimits,
    count_dead_letters,
)
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records, generation_ids, requested_ids
from gengui_stream.projecting.live_partitions import LivePartitions
from gengui_stream.projecting.owned_partition import OwnedPartition, load_states, load_unrequested
from gengui_stream.projecting.progress.fold_span import DecodedRecords, described, fold_span
from gengui_stream.projecting.projected_batch import ProjectedBatch, joined
from gengui_stream.projecting.writes import together, writes_of
from gengui_stream.projections import dead_letters, job_rows, partition_owners
from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.projections.outcomes import DeadLettered, Forwarded, Outcome, Record, Tally

_log = structlog.get_logger(__name__)


class _RejectedWritesError(Exception):
    """PostgreSQL or asyncpg rejects a value of the batch. The cause is their error."""


@dataclass(frozen=True, slots=True)
class _Folded:
    """Folded records that are not committed yet, and the state that their owner keeps after the commit."""

    held: OwnedPartition
    batch: ProjectedBatch
    states: dict[UUID, Generation]
    parked: set[UUID]
    dead: DeadLetterCount

    def move(self) -> checkpoints.Move:
        return checkpoints.Move(self.held.claim, self.batch.next_offset, self.batch.tally)


_Work: TypeAlias = Sequence[tuple[OwnedPartition, Sequence[Record]]]


class Projector:
    """Projects the partitions that it has claimed. Batches of one partition must not overlap; partitions may."""

    def __init__(
        self,
        pool: Pool,
        topic: str,
        timings: JobTimings,
        *,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        forwarding: Forwarding | None = None,
    ) -> None:
        """Without `forwarding` every record is taken for one of the partition that it is on."""
        self._pool = pool
        self._topic = topic
        self._timings = timings
        self._vouched = LivePartitions(pool, timings)
        self._limits = limits
        self._forwarding = forwarding
        self._partitions: dict[int, OwnedPartition] = {}

    async def claim(
        self, partitions: Collection[int], log_ends: Mapping[int, int], paused: Collection[int] = ()
    ) -> Mapping[int, int]:
        """Claims the partitions and drops all others; returns the next offset of each.

        A partition makes no jobs until it has projected the log up to its end in `log_ends`, and none of its jobs is
        claimed: what they ask for may have been done. Then its jobs are made from the states (law 5). Raises
        TransientError when PostgreSQL is unavailable.
        """
        claims = await checkpoints.claim(self._pool, self._topic, partitions)
        with transient_errors():
            held = {partition: await self._owned(claim, log_ends[partition]) for partition, claim in claims.items()}
        await partition_owners.withdraw(self._pool, {partition: claim.epoch for partition, claim in claims.items()})
        for partition, each in held.items():
            each.paused = partition in paused
            await self._vouched.go_live(each)
        self._partitions = held
        return {partition: claim.next_offset for partition, claim in claims.items()}

    async def _owned(self, claim: checkpoints.Claim, log_end: int) -> OwnedPartition:
        parked, dead = await self._dead_letters(claim)
        return OwnedPartition(claim, parked, log_end, dead=dead)

    async def _dead_letters(self, claim: checkpoints.Claim) -> tuple[set[UUID], DeadLetterCount]:
        """Read after the claim: what an operator changes in between, the next commit notices."""
        at = (self._pool, self._topic, claim.partition)
        parked = await dead_letters.parked_generations(*at)
        consecutive = await dead_letters.latest_consecutive(*at, claim.next_offset, self._limits.max_consecutive)
        return parked, DeadLetterCount(consecutive)

    async def pause(self, partitions: Collection[int]) -> None:
        """Those of other owners are left out. The caller submits no records of them until it resumes them."""
        await self._vouched.stand_still([self._partitions[each] for each in partitions if each in self._partitions])

    async def resume(self, log_ends: Mapping[int, int]) -> None:
        """`log_ends`: the current ends of the partitions to resume. An operator may have skipped their next records."""
        for partition in log_ends.keys() & self._partitions.keys():
            self._partitions[partition].mark_in_doubt()
            await self._vouched.go_on(await self._held(partition), log_ends[partition])

    def parked(self) -> Mapping[int, int]:
        """The number of generations with an open dead letter, by partition."""
        return {partition: len(held.parked) for partition, held in self._partitions.items()}

    async def keep_vouching(self) -> None:
        """For the partitions that have caught up, without end. Raises FencedError when PostgreSQL was restored from a
        backup meanwhile: what it lacks has been done, and no batch may come that would show it."""
        await self._vouched.keep_vouching(self.live, self._check_not_restored)

    async def _check_not_restored(self) -> None:
        known = [held.claim for held in self._partitions.values()]
        await checkpoints.check_not_restored(self._pool, self._topic, known)

    def live(self) -> Mapping[int, int]:
        """The epochs of the partitions that have caught up, by partition."""
        return {partition: held.claim.epoch for partition, held in self._partitions.items() if held.live}

    async def reach(self) -> None:
        """Raises TransientError while PostgreSQL is unavailable."""
        with transient_errors():
            await self._pool.fetchval("SELECT 1")

    async def project(self, partition: int, records: Sequence[Record]) -> ProjectedBatch:
        """`project_all` of one partition."""
        return (await self.project_all({partition: records}))[0]

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        """Folds these records into the read models, exactly once, in one transaction. Returns a batch for each
        partition, in the order of `batches`.

        Records before the checkpoint are skipped: they were projected before. Raises FencedError when another owner has
        claimed one of the partitions, BugError when records before these are missing, DeadLetterFloodError when too
        many of them are dead letters, and TransientError when PostgreSQL is unavailable; then the call may be repeated,
        whether or not it had committed. When an operator has retried or discarded dead letters of these partitions,
        the batches are folded again with what is parked now.
        """
        while True:
            try:
                return await self._project_claimed(batches)
            except FencedError:
                if not await self._parked_changed(batches):
                    raise

    async def _parked_changed(self, partitions: Collection[int]) -> bool:
        """Whether an operator explains a failed commit. Raises FencedError when another owner does."""
        known = {partition: held.claim.parked_revision for partition, held in self._partitions.items()}
        claims = [(await self._held(partition)).claim for partition in partitions]
        changed = [claim.partition for claim in claims if claim.parked_revision != known[claim.partition]]
        if changed:
            _log.info("parked_reloaded", partitions=changed)
        return bool(changed)

    async def _project_claimed(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        work = [await self._fresh(partition, records) for partition, records in batches.items()]
        done = {batch.partition: batch for batch in await self._project_or_isolate([each for each in work if each[1]])}
        for held, _ in work:
            await self._vouched.go_live(held)
        claims = (held.claim for held, _ in work)
        return [done.get(claim.partition) or ProjectedBatch(claim.partition, claim.next_offset) for claim in claims]

    async def _fresh(self, partition: int, records: Sequence[Record]) -> tuple[OwnedPartition, Sequence[Record]]:
        held = await self._held(partition)
        await self._vouched.go_live(held)
        fresh = [record for record in records if record.offset >= held.claim.next_offset]
        if fresh:
            check_no_gap(partition, held.claim.next_offset, fresh)
        return held, fresh

    async def _held(self, partition: int) -> OwnedPartition:
        held = self._partitions.get(partition)
        if held is None:
            raise FencedError(f"partition {partition} of {self._topic} is not claimed")
        if held.in_doubt:
            claim = await checkpoints.refresh(self._pool, self._topic, held.claim)
            with transient_errors():
                held.restart(claim, *await self._dead_letters(claim))
        return held

    async def _project_or_isolate(self, work: _Work) -> Sequence[ProjectedBatch]:
        if not work:
            return ()
        try:
            return await self._project(work)
        except _RejectedWritesError as error:
            if len(work) == 1:
                return [await self._bisect(*work[0], error)]
            partitions = [held.claim.partition for held, _ in work]
            _log.warning("batches_refused", partitions=partitions, error=repr(error.__cause__))
            return [await self.project(held.claim.partition, records) for held, records in work]

    async def _project(self, work: _Work) -> Sequence[ProjectedBatch]:
        began_ns = time.time_ns()
        decoded = [decode_records(records) for _, records in work]
        with fold_span(decoded, began_ns) as fold:
            return described(fold, await self._projected(work, decoded))

    async def _projected(self, work: _Work, decoded: Sequence[DecodedRecords]) -> Sequence[ProjectedBatch]:
        wanted = [(held, generation_ids(each)) for (held, _), each in zip(work, decoded, strict=True)]
        requested = [(held, requested_ids(each)) for (held, _), each in zip(work, decoded, strict=True)]
        with transient_errors():
            states, unrequested = await asyncio.gather(
                load_states(self._pool, wanted), load_unrequested(self._pool, requested)
            )
        folded: list[_Folded] = []
        for (held, _), each, own in zip(work, decoded, states, strict=True):
            partition = held.claim.partition
            known = FoldState(own, set(held.parked), unrequested[partition], self._place(partition))
            folded.append(self._folded(held, fold_records(each, known), own, known.parked))
        await self._forward(folded)
        return await self._commit(folded)

    def _place(self, partition: int) -> PartitionPlace | None:
        return PartitionPlace(partition, self._forwarding.partitions) if self._forwarding else None

    async def _forward(self, folded: Sequence[_Folded]) -> None:
        """Before the commit that passes these records: if it fails they are forwarded again, and the fold ignores the
        repetition."""
        strays = [each.record for part in folded for each in part.batch.outcomes if isinstance(each, Forwarded)]
        if self._forwarding and strays:
            _log.warning("records_forwarded", records=len(strays), first_offset=strays[0].offset)
            await self._forwarding.forwarder.forward(strays)

    def _folded(
        self, held: OwnedPartition, outcomes: list[Outcome], states: dict[UUID, Generation], parked: set[UUID]
    ) -> _Folded:
        jobs = job_rows.changes_of(outcomes, self._timings) if held.live else JobChanges()
        next_offset = outcomes[-1].record.offset + 1
        batch = ProjectedBatch(held.claim.partition, next_offset, outcomes, jobs, Tally().count(outcomes))
        dead = count_dead_letters(self._limits, held.claim.partition, held.dead, outcomes)
        return _Folded(held, batch, states, parked, dead)

    async def _commit(self, folded: Sequence[_Folded]) -> Sequence[ProjectedBatch]:
        batches = [each.batch for each in folded]
        writes = together([writes_of(self._topic, batch.partition, batch.outcomes, batch.jobs) for batch in batches])
        for each in folded:
            each.held.mark_in_doubt()
        try:
            with transient_errors():
                async with self._pool.acquire() as connection:
                    await checkpoints.commit(connection, self._topic, [each.move() for each in folded], writes=writes)
        except Exception as error:
            if rejects_value(error) or (meet_in_a_row(error) and len(folded) > 1):
                raise _RejectedWritesError from error
            raise
        for each in folded:
            each.held.advance(each.batch.next_offset, each.states, each.parked, each.dead)
        return batches

    async def _bisect(
        self, held: OwnedPartition, records: Sequence[Record], error: _RejectedWritesError
    ) -> ProjectedBatch:
        """Commits the halves of a rejected batch separately, down to the record with the rejected value, which alone
        becomes a dead letter."""
        partition = held.claim.partition
        if len(records) == 1:
            return await self._reject(partition, records[0], error)
        _log.warning("batch_refused", partition=partition, records=len(records), error=repr(error.__cause__))
        done: list[ProjectedBatch] = []
        for half in (records[: len(records) // 2], records[len(records) // 2 :]):
            held = await self._held(partition)
            try:
                done += await self._project([(held, half)])
            except _RejectedWritesError as again:
                done.append(await self._bisect(held, half, again))
        return joined(partition, done)

    async def _reject(self, partition: int, record: Record, error: _RejectedWritesError) -> ProjectedBatch:
        held, cause = await self._held(partition), error.__cause__
        generation_id = decode_record(record).generation_id
        _log.error("record_refused", partition=partition, offset=record.offset, error=repr(cause))
        dead = DeadLettered(record, generation_id, "refused_by_database", f"{type(cause).__name__}: {cause}"[:500])
        parked = held.parked if generation_id is None else held.parked | {generation_id}
        return (await self._commit([self._folded(held, [dead], {}, parked)]))[0]
