"""The contract of the projection that job handlers read: the attempts of their jobs, whether an event has changed its
generation, and the jobs that the states call for."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import pytest

from gengui_stream.domain.generation.state import Status
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.projection import Place, Projection
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.log.codec import KeyedRecord, encode_key
from gengui_stream.log.positions import Position
from gengui_stream.log.unpacking.records import RawRecord
from gengui_stream.process.lifecycle import ShutdownRequested
from schemas.events import (
    Event,
    Failure,
    GenerationAccepted,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDispatched,
    GenerationFailed,
    Output,
)
from tests.integration.running import a_request, eventually


class SystemLog(Protocol):
    async def append_many(self, events: Sequence[Event]) -> list[Position]: ...

    async def forward(self, records: Sequence[KeyedRecord]) -> None: ...


class Projected(Protocol):
    """The projection under test, and its log, both empty. Nothing is projected but by `project` and during `live`."""

    @property
    def log(self) -> SystemLog: ...

    @property
    def projection(self) -> Projection: ...

    async def project(self) -> None:
        """Projects up to the end of the log."""
        ...

    def live(self) -> AbstractAsyncContextManager[None]:
        """Projects meanwhile, as a process that has caught up does."""
        ...

    async def job_keys(self) -> set[str]: ...


def an_event(kind: type[Event], generation_id: UUID, **fields: object) -> Event:
    common = {"id": new_id(), "generation_id": generation_id, "occurred_at": datetime.now(UTC), "producer": "test"}
    return kind.model_validate({**common, **fields})


def announced(generation_id: UUID) -> Event:
    return an_event(GenerationDispatched, generation_id, attempt=1, provider="local", model="flux")


def a_job(generation_id: UUID, attempt: int = 1) -> ClaimedJob:
    key = f"dispatch:{generation_id}:{attempt}"
    return ClaimedJob(key, "dispatch", generation_id, attempt, None, 1, False, datetime.now(UTC))


async def appended(projected: Projected, *events: Event) -> list[Place]:
    """Keyed by their order, from 0."""
    positions = await projected.log.append_many(events)
    return [
        Place(str(number), event, position)
        for number, (event, position) in enumerate(zip(events, positions, strict=True))
    ]


class ProjectionContract:
    async def test_attempts_are_loaded_in_the_order_of_their_jobs(self, projected: Projected) -> None:
        requests = [a_request(prompt=f"prompt {number}", max_attempts=2) for number in range(3)]
        await appended(projected, *requests, announced(requests[1].generation_id))
        await projected.project()
        jobs = [a_job(request.generation_id, 2) for request in reversed(requests)]
        unknown = a_job(new_id())
        found = await projected.projection.load([jobs[0], unknown, *jobs[1:]])
        assert [attempt.job for attempt in found] == jobs
        assert [attempt.request.prompt for attempt in found] == ["prompt 2", "prompt 1", "prompt 0"]
        assert [attempt.state.status for attempt in found] == [Status.QUEUED, Status.DISPATCHED, Status.QUEUED]
        for attempt, request in zip(found, reversed(requests), strict=True):
            asked = attempt.request
            assert (asked.owner_id, asked.seed, asked.model) == (request.owner_id, request.seed, request.model)
            assert (asked.width, asked.height, asked.attempt) == (request.width, request.height, 2)

    async def test_of_two_announcements_the_first_is_applied(self, projected: Projected) -> None:
        request = a_request()
        first, second = announced(request.generation_id), announced(request.generation_id)
        places = await appended(projected, request, first, second)
        await projected.project()
        assert await projected.projection.applied(places, asyncio.Event()) == {"0", "1"}

    async def test_an_event_after_the_end_is_not_applied(self, projected: Projected) -> None:
        request = a_request()
        canceled = an_event(GenerationCancelRequested, request.generation_id)
        places = await appended(projected, request, canceled, announced(request.generation_id))
        await projected.project()
        assert await projected.projection.applied(places, asyncio.Event()) == {"0", "1"}

    async def test_an_event_that_was_appended_twice_is_applied_at_both_positions(self, projected: Projected) -> None:
        request = a_request()
        event = announced(request.generation_id)
        places = await appended(projected, request, event, event)
        await projected.project()
        for place in places:
            assert await projected.projection.applied([place], asyncio.Event()) == {place.key}

    async def test_an_event_behind_a_dead_letter_is_not_applied(self, projected: Projected) -> None:
        request = a_request()
        [requested] = await appended(projected, request)
        broken = RawRecord(requested.position.partition, 0, 1_780_000_000_000, encode_key(request), b"{")
        await projected.log.forward([broken])
        [parked] = await appended(projected, announced(request.generation_id))
        await projected.project()
        assert await projected.projection.applied([parked], asyncio.Event()) == set()

    async def test_it_waits_until_the_event_is_projected(self, projected: Projected) -> None:
        places = await appended(projected, a_request())
        waiting = asyncio.create_task(projected.projection.applied(places, asyncio.Event()))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        await projected.project()
        assert await waiting == {"0"}

    async def test_a_stop_ends_the_wait(self, projected: Projected) -> None:
        places = await appended(projected, a_request())
        stop = asyncio.Event()
        stop.set()
        with pytest.raises(ShutdownRequested):
            await projected.projection.applied(places, stop)

    async def test_the_states_make_and_end_jobs(self, projected: Projected) -> None:
        request = a_request()
        generation_id = request.generation_id
        failure = Failure(code="lost", message="no connection", retryable=True)
        accepted = {"provider": "local", "provider_job_id": "7", "endpoint_id": "e1"}
        dispatched, reconcile, cancel = (f"{kind}:{generation_id}:" for kind in ("dispatch", "reconcile", "cancel"))
        steps: list[tuple[Event, set[str]]] = [
            (request, {dispatched + "1", reconcile + "1"}),
            (announced(generation_id), {dispatched + "1", reconcile + "1"}),
            (an_event(GenerationAccepted, generation_id, attempt=1, **accepted), {dispatched + "1", reconcile + "1"}),
            (
                an_event(GenerationFailed, generation_id, attempt=1, error=failure),
                {reconcile + "1", dispatched + "2", reconcile + "2"},
            ),
            (
                an_event(GenerationDispatched, generation_id, attempt=2, provider="local", model="flux"),
                {reconcile + "1", dispatched + "2", reconcile + "2"},
            ),
            (
                an_event(GenerationCancelRequested, generation_id),
                {reconcile + "1", dispatched + "2", reconcile + "2", cancel + "2"},
            ),
            (
                an_event(GenerationCompleted, generation_id, attempt=2, outputs=(Output(object_key="a.png"),)),
                {reconcile + "1", reconcile + "2", cancel + "2", f"thumbnail:{generation_id}:0"},
            ),
        ]
        async with projected.live():
            for event, keys in steps:
                await appended(projected, event)
                await self.has_jobs(projected, keys)

    async def has_jobs(self, projected: Projected, keys: set[str]) -> None:
        async def look() -> bool:
            return await projected.job_keys() == keys

        await eventually(look)
