"""Two of three brokers paused: nothing can be appended, everything can be read, and nothing is lost."""

import asyncio
import signal
import time
import uuid
from dataclasses import dataclass
from typing import Final

import aiohttp

from tests.cluster.brokers import Cluster
from tests.faults.schedule.fleet import Fleet

PAUSE_S: Final = 15.0
ANSWERED_WITHIN_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class TwoLost:
    """The responses while one broker of three runs, with the seconds that the request took."""

    request: int
    request_s: float
    retry_after: str | None
    read: int
    ready: int


async def two_lost(fleet: Fleet, cluster: Cluster) -> TwoLost:
    """The brokers have been resumed when it returns."""
    names = [server.child.name for server in cluster.servers[:2]]
    ends = time.monotonic() + PAUSE_S
    for name in names:
        fleet.signal(name, signal.SIGSTOP)
    try:
        found = await _responses(fleet)
        await asyncio.sleep(max(0.0, ends - time.monotonic()))
    finally:
        for name in names:
            fleet.signal(name, signal.SIGCONT)
    return found


async def _responses(fleet: Fleet) -> TwoLost:
    headers = {"Authorization": f"Bearer {fleet.keys['demo']}"}
    timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
    async with aiohttp.ClientSession(fleet.url, headers=headers, timeout=timeout) as http:
        began = time.monotonic()
        key = {"Idempotency-Key": str(uuid.uuid4())}
        async with http.post("/v1/generations", json={"prompt": "a lighthouse"}, headers=key) as response:
            request, retry_after = response.status, response.headers.get("Retry-After")
        seconds = time.monotonic() - began
        async with http.get("/v1/generations?limit=1") as response:
            read = response.status
        async with http.get("/readyz") as response:
            return TwoLost(request, round(seconds, 1), retry_after, read, response.status)
