"""From records to read models: decode, fold, and one transaction a partition batch (laws 2, 3 and 4)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from gengui_stream.domain.generation import Generation
from gengui_stream.domain.reactions import Job
from gengui_stream.errors import BugError, FencedError
from gengui_stream.log.codec import decode
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections import dead_letters, generation_states, job_rows, positions
from gengui_stream.projections.folding import (
    Applied,
    Dead,
    Entry,
    Inert,
    Record,
    Tally,
    decode_records,
    fold_records,
    generation_ids,
)
from gengui_stream.projections.writing import writes_of

CACHED_STATES: Final = 50_000
"""A partition's states kept in memory: about 1 KiB each. The owner alone changes them, so they are never stale."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProjectedBatch:
    """What one committed transaction did: `entries` in the order of the log, and the `jobs` it made."""

    partition: int
    next_offset: int
    entries: Sequence[Entry] = ()
    jobs: Sequence[Job] = ()
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _Partition:
    """What the owner of a partition remembers of it. `certain`: whether the last commit's outcome is known."""

    claim: positions.Claim
    parked: set[UUID]
    states: dict[UUID, Generation] = field(default_factory=dict)
    certain: bool = True


class Projector:
    """Projects the partitions it has claimed. One batch of a partition at a time; partitions may overlap."""

    def __init__(self, pool: Pool, topic: str, *, react: bool = True) -> None:
        """`react=False` folds without making jobs: a rebuild must not do side effects again (law 5)."""
        self._pool = pool
        self._topic = topic
        self._react = react
        self._partitions: dict[int, _Partition] = {}

    async def claim(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Takes the partitions over and forgets all others; returns the next offset to read of each.

        Raises TransientError when PostgreSQL is away.
        """
        claims = await positions.claim(self._pool, self._topic, partitions)
        with transient_errors():
            held = {
                partition: _Partition(claim, await dead_letters.parked_generations(self._pool, self._topic, partition))
                for partition, claim in claims.items()
            }
        self._partitions = held
        return {partition: claim.next_offset for partition, claim in claims.items()}

    async def project(self, partition: int, records: Sequence[Record]) -> ProjectedBatch:
        """Folds the records into the read models, exactly once, in one transaction.

        Records before the position were projected already and are left out. Raises FencedError when another owner
        has the partition, BugError when records are missing before these, and TransientError when PostgreSQL is
        away: the same call may be made again, whether or not the commit had gone through.
        """
        held = await self._held(partition)
        fresh = [record for record in records if record.offset >= held.claim.next_offset]
        if not fresh:
            return ProjectedBatch(partition, held.claim.next_offset)
        _check_no_gap(partition, held.claim.next_offset, fresh)
        try:
            return await self._project(held, fresh)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, UnicodeError) as error:
            return await self._isolate(held, fresh, error)

    async def _held(self, partition: int) -> _Partition:
        held = self._partitions.get(partition)
        if held is None:
            raise FencedError(f"partition {partition} of {self._topic} is not claimed")
        if not held.certain:
            held.claim = await positions.refresh(self._pool, self._topic, held.claim)
            held.states.clear()
            held.certain = True
        return held

    async def _project(self, held: _Partition, records: Sequence[Record]) -> ProjectedBatch:
        decoded = decode_records(records)
        states = await self._states(held, generation_ids(decoded))
        parked = set(held.parked)
        entries = fold_records(decoded, states, parked)
        return await self._commit(held, records, entries, states, parked)

    async def _states(self, held: _Partition, needed: set[UUID]) -> dict[UUID, Generation]:
        """The known states of these generations: a copy, so that a failed batch leaves no trace."""
        states = {gid: state for gid in needed if (state := held.states.get(gid)) is not None}
        missing = needed.difference(states)
        if missing:
            with transient_errors():
                states.update(await generation_states.load(self._pool, missing, partition=held.claim.partition))
        return states

    async def _commit(
        self,
        held: _Partition,
        records: Sequence[Record],
        entries: list[Entry],
        states: dict[UUID, Generation],
        parked: set[UUID],
    ) -> ProjectedBatch:
        tally = Tally().count(entries)
        jobs = job_rows.jobs_of(entries) if self._react else []
        partition, next_offset = held.claim.partition, records[-1].offset + 1
        writes = writes_of(self._topic, partition, entries, jobs)
        held.certain = False
        with transient_errors():
            async with self._pool.acquire() as connection:
                await positions.commit(connection, self._topic, held.claim, next_offset, tally, writes=writes)
        held.claim = positions.Claim(partition, next_offset, held.claim.epoch)
        held.certain = True
        held.parked = parked
        _remember(held.states, states)
        return ProjectedBatch(partition, next_offset, entries, jobs, tally)

    async def _isolate(self, held: _Partition, records: Sequence[Record], error: Exception) -> ProjectedBatch:
        """PostgreSQL refuses a value of the batch: commit record by record, so that only its own is lost to it."""
        partition = held.claim.partition
        _log.warning("batch_refused", partition=partition, records=len(records), error=repr(error))
        held.states.clear()
        done: list[ProjectedBatch] = []
        for record in records:
            held = await self._held(partition)
            if record.offset >= held.claim.next_offset:
                done.append(await self._project_alone(held, record))
        return _joined(partition, done)

    async def _project_alone(self, held: _Partition, record: Record) -> ProjectedBatch:
        try:
            return await self._project(held, [record])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, UnicodeError) as error:
            held = await self._held(held.claim.partition)
            generation_id = decode(record.key, record.value).generation_id
            _log.error("record_refused", partition=held.claim.partition, offset=record.offset, error=repr(error))
            dead = Dead(record, generation_id, "refused_by_database", f"{type(error).__name__}: {error}"[:500])
            parked = held.parked if generation_id is None else held.parked | {generation_id}
            return await self._commit(held, [record], [dead], {}, parked)


def _check_no_gap(partition: int, expected: int, records: Sequence[Record]) -> None:
    """The log has no holes (law 1): a missing offset was removed by someone, and skipping it would be a lie."""
    last = records[-1].offset
    if records[0].offset != expected or last - expected + 1 != len(records):
        raise BugError(
            f"partition {partition}: expected offsets {expected} to {last}, but {len(records)} records begin at "
            f"{records[0].offset}: part of the log is gone. Restore it from its archive, or rebuild the projections."
        )


def _remember(cache: dict[UUID, Generation], states: Mapping[UUID, Generation]) -> None:
    for generation_id, state in states.items():
        cache.pop(generation_id, None)
        cache[generation_id] = state
    for oldest in list(islice(cache, max(0, len(cache) - CACHED_STATES))):
        del cache[oldest]


def _joined(partition: int, batches: Sequence[ProjectedBatch]) -> ProjectedBatch:
    entries = [entry for batch in batches for entry in batch.entries]
    jobs = [job for batch in batches for job in batch.jobs]
    return ProjectedBatch(partition, batches[-1].next_offset, entries, jobs, Tally().count(entries))


def changed(batch: ProjectedBatch) -> list[Applied | Inert]:
    """The entries that a reader of the timeline can see."""
    return [entry for entry in batch.entries if not isinstance(entry, Dead)]
