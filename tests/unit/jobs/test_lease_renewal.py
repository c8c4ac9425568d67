"""Work whose leases can no longer be renewed ends: another process will claim its jobs."""

import asyncio
from collections.abc import Collection

import pytest

from gengui_stream.jobs.loop import renewing_leases
from gengui_stream.testing.job_queue import InMemoryJobQueue, InMemoryJobs


class Failing(InMemoryJobQueue):
    async def renew(self, keys: Collection[str]) -> set[str]:
        raise RuntimeError("a bug in our code")


async def test_a_bug_in_the_renewal_ends_the_work() -> None:
    queue = Failing(InMemoryJobs(), "dispatch", owner="one", lease_seconds=30)
    with pytest.raises(RuntimeError, match="a bug in our code"):
        async with asyncio.timeout(5), renewing_leases(queue, ["a"], 0.03):
            await asyncio.Event().wait()
