"""The projection in memory: the production fold over the in-memory log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.domain.generation.state import Generation
from gengui_stream.jobs.attempts import Attempt
from gengui_stream.jobs.projection import Place
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.log.positions import Position
from gengui_stream.process.lifecycle import ShutdownRequested, pause
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projections.job_rows import changes_of
from gengui_stream.projections.outcomes import Applied, Outcome
from gengui_stream.providers.interface import DispatchRequest
from gengui_stream.testing.event_log import InMemoryEventLog
from gengui_stream.testing.job_queue import InMemoryJobs
from schemas.events import GenerationRequested

LOOK_S: Final = 0.001


@dataclass(slots=True)
class _Partition:
    """A partition's fold, and the offset of the next record."""

    fold: FoldState = field(default_factory=FoldState)
    next_offset: int = 0


class InMemoryProjection:
    """Keeps the contract of `Projection`. Folds what is new on the log before every read, and keeps the jobs that the
    states call for. `paused`: the projection stays where it is, as it does while no agent runs.

    `between_looks` is awaited while `applied` waits, and returns whether the process stops. `after_load` is awaited
    after each read of the states.
    """

    def __init__(self, log: InMemoryEventLog, jobs: InMemoryJobs, timings: JobTimings) -> None:
        self._log = log
        self._jobs = jobs
        self._timings = timings
        self._partitions: dict[int, _Partition] = {}
        self._requests: dict[UUID, GenerationRequested] = {}
        self._applied: set[tuple[UUID, UUID]] = set()
        self.outcomes: dict[Position, Outcome] = {}
        self.paused = False
        self.between_looks: Callable[[asyncio.Event], Awaitable[bool]] = _pause
        self.after_load: Callable[[], Awaitable[None]] | None = None

    def catch_up(self) -> None:
        """Folds up to the end of the log, and vouches for the partitions; while `paused`, does nothing."""
        if self.paused:
            return
        for record in self._log.read({number: each.next_offset for number, each in self._partitions.items()}):
            partition = self._partitions.setdefault(record.partition, _Partition())
            [outcome] = fold_records(decode_records([record]), partition.fold)
            partition.next_offset = record.offset + 1
            self._keep(outcome, Position(record.partition, record.offset))
        self._jobs.vouch(self._partitions)

    def _keep(self, outcome: Outcome, position: Position) -> None:
        self.outcomes[position] = outcome
        if isinstance(outcome, Applied):
            self._applied.add((outcome.event.generation_id, outcome.event.id))
            if isinstance(outcome.event, GenerationRequested):
                self._requests[outcome.event.generation_id] = outcome.event
        self._jobs.write(changes_of([outcome], self._timings), position.partition)

    def state_of(self, generation_id: UUID) -> Generation | None:
        """The generation's state as far as the log is projected."""
        states = (each.fold.states.get(generation_id) for each in self._partitions.values())
        return next((state for state in states if state is not None), None)

    def generations(self) -> list[Generation]:
        return [state for each in self._partitions.values() for state in each.fold.states.values()]

    async def load(self, jobs: Sequence[ClaimedJob]) -> list[Attempt]:
        self.catch_up()
        states = {job.generation_id: self.state_of(job.generation_id) for job in jobs}
        attempts = [
            Attempt(job, state, _request(self._requests[job.generation_id], job.attempt))
            for job in jobs
            if (state := states[job.generation_id]) is not None
        ]
        if self.after_load is not None:
            await self.after_load()
        return attempts

    async def applied(self, places: Sequence[Place], stop: asyncio.Event) -> set[str]:
        while True:
            self.catch_up()
            if all(place.position in self.outcomes for place in places):
                return {place.key for place in places if self._is_applied(place)}
            if await self.between_looks(stop):
                raise ShutdownRequested("projection")

    def _is_applied(self, place: Place) -> bool:
        """By any of its records: an append that was repeated has the event twice on the log."""
        return (place.event.generation_id, place.event.id) in self._applied


async def _pause(stop: asyncio.Event) -> bool:
    return await pause(stop, LOOK_S)


def _request(event: GenerationRequested, attempt: int) -> DispatchRequest:
    return DispatchRequest(
        generation_id=event.generation_id,
        owner_id=event.owner_id,
        attempt=attempt,
        prompt=event.prompt,
        seed=event.seed,
        width=event.width,
        height=event.height,
        model=event.model,
        deadline=event.deadline,
        correlation_id=event.correlation_id,
        traceparent=event.traceparent,
    )
