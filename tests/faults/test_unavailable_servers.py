"""A server stopped, or silent, for a while under load: the system waits, logs it, and resumes without help."""

import asyncio
import signal
import uuid
from collections.abc import Mapping

import aiohttp
import psutil
import pytest

from tests.faults.given import GivenSystem
from tests.faults.load import listening, load
from tests.faults.oracle import settled
from tests.integration.running import eventually

PARTS = {"postgres": "postgres", "valkey": "redis", "seaweed": "objects", "kafka": "log"}
"""What /readyz calls them."""

AWAY_S = 6.0
"""Longer than every lease and session in these tests."""


async def says_unready(system: GivenSystem, part: str) -> None:
    async def named() -> bool:
        status, checks = await system.readiness()
        assert status in {200, 503}, (status, checks)
        return status == 503 and checks.get(part, "ok") != "ok"

    await eventually(named, within_s=30)


@pytest.mark.parametrize("name", PARTS)
async def test_a_server_is_stopped_for_a_while(given_system: GivenSystem, name: str) -> None:
    server = given_system.server(name)
    async with listening(given_system) as listener:
        async with load(given_system) as asked:
            await asked.more(5)
            await server.stop()
            await says_unready(given_system, PARTS[name])
            await asyncio.sleep(AWAY_S)
            await server.start()
            await given_system.ready()
            await asked.more(5)
        await settled(given_system, asked)
        await listener.all_of(asked)


@pytest.mark.parametrize("name", PARTS)
async def test_a_server_is_silent_for_a_while(given_system: GivenSystem, name: str) -> None:
    """Connections stay open without an answer."""
    pid = given_system.server(name).child.pid
    assert pid is not None
    async with load(given_system) as asked:
        await asked.more(5)
        _signal_all(pid, signal.SIGSTOP)
        try:
            await says_unready(given_system, PARTS[name])
            await asyncio.sleep(AWAY_S)
        finally:
            _signal_all(pid, signal.SIGCONT)
        await given_system.ready()
        await asked.more(5)
    await settled(given_system, asked)


SILENT: Mapping[str, tuple[int, int, int]] = {
    "postgres": (503, 503, 503),
    "valkey": (200, 202, 200),
    "seaweed": (200, 202, 200),
    "kafka": (200, 503, 200),
}
"""The responses to a read, a request and the start of a stream while the process of that server is stopped."""

ANSWERED_WITHIN_S = 10.0


@pytest.mark.parametrize("name", SILENT)
async def test_a_request_is_answered_while_a_server_is_silent(given_system: GivenSystem, name: str) -> None:
    """On a connection that the client has kept."""
    pid = given_system.server(name).child.pid
    assert pid is not None
    headers = {"Authorization": f"Bearer {given_system.key()}"}
    timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
    async with aiohttp.ClientSession(given_system.url, headers=headers, timeout=timeout) as http:

        async def status(method: str, path: str, **sent: object) -> int:
            key = {"Idempotency-Key": str(uuid.uuid4())} if sent else {}
            async with http.request(method, path, json=sent or None, headers=key) as response:
                return response.status

        async def responses() -> tuple[int, int, int]:
            return (
                await status("GET", "/v1/generations"),
                await status("POST", "/v1/generations", prompt="a lighthouse"),
                await status("GET", "/v1/stream"),
            )

        assert await responses() == (200, 202, 200)
        _signal_all(pid, signal.SIGSTOP)
        try:
            assert await responses() == SILENT[name]
        finally:
            _signal_all(pid, signal.SIGCONT)
        await given_system.ready()
        assert await responses() == (200, 202, 200)


def _signal_all(pid: int, number: signal.Signals) -> None:
    """The process and its children: PostgreSQL has one a connection. Each of ours leads a session of its own."""
    process = psutil.Process(pid)
    for found in [process, *process.children()]:
        found.send_signal(number)


async def test_what_is_given_is_not_started(given_system: GivenSystem) -> None:
    pids = given_system.document()["pids"]
    assert isinstance(pids, dict)
    assert not PARTS.keys() & pids.keys()
    assert given_system.settings.kafka_bootstrap_servers == given_system.document()["kafka"]
