"""A process that stops finishes what it has announced, and releases the other jobs to the processes that go on."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gengui_stream.domain.generation.jobs import Job
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.loop import JobHandler, run_job_loop
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.process.lifecycle import ShutdownRequested, pause
from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.testing.job_queue import InMemoryJobs
from tests.integration.running import a_request
from tests.unit.jobs.stage import Stage


async def test_an_attempt_that_was_announced_before_a_stop_is_submitted() -> None:
    """Its provider is not called by another process, which could not know whether it had been."""
    stage = Stage()
    projection, process = stage.system.projection, stage.process

    async def stopped_and_behind() -> None:
        projection.paused = True
        process.stop.set()

    async def catching_up(stop: asyncio.Event) -> bool:
        projection.paused = False
        return await pause(stop, 0.01)

    projection.after_load, projection.between_looks = stopped_and_behind, catching_up
    await stage.request()
    await process.dispatch()
    assert len(stage.provider.runs) == 1
    assert stage.types()[-1] == "accepted"


async def test_a_projection_that_stands_still_is_waited_for_no_longer_after_a_stop() -> None:
    stage = Stage()
    stage.system.projection.paused = True
    stage.process.stop.set()
    context = replace(stage.process.context, applied_within_s=0.05)
    with pytest.raises(ShutdownRequested):
        async with asyncio.timeout(5):
            await context.appended_and_applied({"a": a_request()})


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_is_unfinished_at_the_end_is_claimed_by_another_process_at_once(cancelled: bool) -> None:
    table = InMemoryJobs()
    table.write(JobChanges(made=[Job(f"cancel:{number}", "cancel", new_id(), 1) for number in range(3)]), 0)
    table.vouch([0])
    queue, stop, working = table.queue("cancel", owner="one"), asyncio.Event(), asyncio.Event()

    async def work(jobs: Sequence[ClaimedJob]) -> None:
        await queue.finish([jobs[0].key])
        working.set()
        await asyncio.Event().wait() if cancelled else await stop.wait()
        raise ShutdownRequested("a server is unavailable")

    loop = run_job_loop(JobHandler(queue, queue.claim, work), stop, ready=asyncio.Event(), lease_s=30)
    running = asyncio.ensure_future(loop)
    await working.wait()
    stop.set()
    if cancelled:
        running.cancel()
    await asyncio.wait({running})
    assert running.cancelled() is cancelled
    again = await table.queue("cancel", owner="other").claim(9)
    assert [job.tries for job in again] == [1, 1]
