"""An operation that is repeated until a server takes it shows in the readiness of its process, and in a metric."""

import asyncio
from collections import Counter

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.health.liveness import UNREADY_AFTER_S, Health
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.process.waits import current_waits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_process_is_not_ready_while_an_operation_fails_for_long() -> None:
    clock, counted = Clock(), Counter[str]()
    health = Health(clock)
    health.started()
    health.waits.count(lambda operation: counted.update([operation]))
    seen: list[tuple[bool, dict[str, object]]] = []

    async def attempt() -> None:
        seen.append((health.liveness().ready, health.liveness().readiness_document()))
        clock.now += UNREADY_AFTER_S / 2
        health.tick()
        if len(seen) < 4:
            raise TransientError("PostgreSQL: DiskFullError: no space left")

    current_waits.set(health.waits)
    await asyncio.create_task(retry_transient(attempt, asyncio.Event(), operation="project"))
    assert [ready for ready, _ in seen] == [True, True, True, False]
    error = "PostgreSQL: DiskFullError: no space left"
    assert seen[-1][1]["waits"] == {"project": {"seconds": UNREADY_AFTER_S, "error": error}}
    assert "waits" not in health.liveness().document()
    assert health.liveness().ready
    assert counted == {"project": 3}


async def test_a_wait_ends_with_its_operation_however_that_ends() -> None:
    health = Health()
    current_waits.set(health.waits)
    stop = asyncio.Event()

    async def away() -> None:
        stop.set()
        raise TransientError("away")

    with pytest.raises(ShutdownRequested):
        await retry_transient(away, stop, operation="log")
    assert health.waits.oldest() == []
