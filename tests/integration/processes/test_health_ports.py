"""Every role as a process serves `/livez` and `/metrics`, whatever the state of its servers and its event loop."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.metrics import new_metrics
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.roles import ROLES
from tests.integration.running import eventually

NOWHERE: Final = {
    "DATABASE_URL": "postgresql://gengui@127.0.0.1:1/gengui",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
}

BLOCKING: Final = """
import pathlib, signal, time

def block(*_):
    while not pathlib.Path("released").exists():
        time.sleep(0.02)

signal.signal(signal.SIGUSR1, block)
"""
"""A signal handler runs in the thread of the event loop: this one keeps the loop from running, and no other thread."""


@asynccontextmanager
async def started(role: str, directory: Path, environ: Mapping[str, str]) -> AsyncIterator[Child]:
    child = Child(role, directory / f"{role}.log")
    plain = {"PATH": os.environ["PATH"], "SHUTDOWN_GRACE_S": "1", **NOWHERE, **environ}
    child.start([sys.executable, "-m", "gengui_stream.cli", *ROLES[role].arguments], environ=plain, cwd=directory)
    try:
        yield child
    finally:
        await child.stop(grace_s=10)


async def answer(session: aiohttp.ClientSession, port: int, path: str) -> tuple[int, Any]:
    """Status 0 while nothing listens there."""
    try:
        async with session.get(f"http://127.0.0.1:{port}{path}") as found:
            text = found.content_type != "application/json"
            return found.status, await (found.text() if text else found.json())
    except aiohttp.ClientConnectionError:
        return 0, None


async def answered(session: aiohttp.ClientSession, child: Child, port: int) -> Any:
    async def look() -> Any:
        child.check_alive()
        status, document = await answer(session, port, "/livez")
        assert status in {0, 200}
        return document

    return await eventually(look)


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_role_answers_while_it_waits_and_has_its_own_metrics(role: str, tmp_path: Path) -> None:
    port = free_port()
    name = "PORT" if ROLES[role].metrics_port is None else "METRICS_PORT"
    async with started(role, tmp_path, {name: str(port)}) as child, aiohttp.ClientSession() as session:
        document = await answered(session, child, port)
        assert document["status"] == "starting"
        status, text = await answer(session, port, "/metrics")
        assert (status, "process_resident_memory_bytes" in text) == (200, True)
        assert (await answer(session, port, "/anything"))[0] == 404

        async def retries() -> str:
            text = str((await answer(session, port, "/metrics"))[1])
            return text if re.search(r"^gengui_retries_total\{.*\} [1-9]", text, re.MULTILINE) else ""

        shown = {family.name for family in text_string_to_metric_families(await eventually(retries))}
    expected = {family.name for family in new_metrics(ROLES[role].name).registry.collect()}
    assert {each for each in shown if each.startswith("gengui_")} == {
        each for each in expected if each.startswith("gengui_")
    }


async def test_the_metrics_of_the_api_have_a_port_of_their_own_if_they_are_to(tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    environ = {"PORT": str(port), "API_METRICS_PORT": str(own), "HOST": "::1", "METRICS_HOST": "127.0.0.1"}
    async with started("api", tmp_path, environ) as child, aiohttp.ClientSession() as session:
        assert (await answered(session, child, own))["status"] == "starting"
        assert await answer(session, port, "/livez") == (0, None), "clients reach another address"

        async def listening() -> bool:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get(f"http://[::1]:{port}/livez") as found:
                    return found.status == 200
            return False

        await eventually(listening)
        async with session.get(f"http://[::1]:{port}/metrics") as refused:
            assert (refused.status, (await refused.json())["code"]) == (404, "not_found")
        async with session.get(f"http://[::1]:{port}/openapi.json") as document:
            assert not {"/metrics"} & set((await document.json())["paths"])
        status, text = await answer(session, own, "/metrics")
    assert (status, 'route="/livez"' in text) == (200, True)


@pytest.mark.parametrize(("role", "name"), [("bridge", "METRICS_PORT"), ("api", "API_METRICS_PORT")])
async def test_a_port_that_is_taken_ends_the_process(role: str, name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with started(role, tmp_path, {"PORT": "0", name: port}) as child:
            await asyncio.wait_for(child.ended(), 45)
    assert child.exit_code == ExitCode.CONFIGURATION
    assert f"{name}: cannot listen on 127.0.0.1:{port}" in child.log_tail()
    assert "Traceback" not in child.log_tail()


async def test_a_blocked_loop_is_not_alive(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKING)
    port = free_port()
    environ = {"METRICS_PORT": str(port), "PYTHONPATH": str(tmp_path)}
    async with started("bridge", tmp_path, environ) as child, aiohttp.ClientSession() as session:
        await answered(session, child, port)
        os.kill(child.pid or 0, signal.SIGUSR1)

        async def stalled() -> Any:
            status, document = await answer(session, port, "/livez")
            return document if status == 503 else None

        document = await eventually(stalled)
        assert document["status"] == "stalled"
        assert 10 <= document["tick_age_s"] < 60
        assert (await answer(session, port, "/metrics"))[0] == 200
        (tmp_path / "released").touch()

        async def alive() -> bool:
            return (await answer(session, port, "/livez"))[0] == 200

        await eventually(alive)


async def test_what_is_odd_about_the_settings_is_logged_once_at_start(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "MINIO_SECRET_KEY=hunter2\nDB_PASWORD=hunter2\nSMTP_USER=u\nSMTP_PASSWORD=hunter2\nLOG_LEVEL=warn\n"
    )
    environ = {"METRICS_PORT": str(free_port()), "NODE_ENV": "production"}
    async with started("bridge", tmp_path, environ) as child:

        async def waits() -> bool:
            child.check_alive()
            return b'"waiting"' in child.log.read_bytes()

        await eventually(waits)
    log = child.log.read_text()
    events = [json.loads(line) for line in log.splitlines()]
    said = {event["event"]: event for event in events if event["event"].startswith("settings_")}
    assert len([event for event in events if event["event"].startswith("settings_")]) == len(said)
    assert said["settings_renamed"]["renamed"] == [
        {"old": "LOG_LEVEL=warn", "new": "LOG_LEVEL=warning"},
        {"old": "NODE_ENV", "new": "ENVIRONMENT"},
    ]
    assert said["settings_unknown"]["unknown"] == [{"name": "DB_PASWORD", "nearest": "DB_PASSWORD"}]
    assert "hunter2" not in log
