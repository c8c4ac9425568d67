"""`gengui-stream fake`: the servers as processes, and the script `chaos`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
from aiohttp import ClientConnectionError, ClientError, ClientSession, ClientTimeout

from gengui_stream.fakes.calls import Call
from gengui_stream.fakes.gemini import script as gemini_script
from gengui_stream.fakes.gemini.script import GeminiScript
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.fakes.runpod import script as runpod_script
from gengui_stream.fakes.runpod.script import RunpodScript
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.identifiers import new_id
from gengui_stream.process.exit_codes import ExitCode

Played = TypeVar("Played", GeminiScript, RunpodScript)

REQUESTS = 150
TIMEOUT = ClientTimeout(100)


@asynccontextmanager
async def command(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gengui_stream.cli", "fake", *words),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_prints_its_url_serves_and_stops_at_a_signal(tmp_path: Path) -> None:
    words = ("gemini", "--script", "reset", "--json")
    async with command(tmp_path, *words) as process, ClientSession() as session:
        assert process.stdout is not None
        said = orjson.loads(await process.stdout.readline())
        url = f"{said['url']}/v1beta/models/gemini-3.1-flash-image:generateContent"
        with pytest.raises(ClientConnectionError):
            async with session.post(url, json={}):
                pass
        async with session.put(f"{said['url']}/_fake/script", json={"rules": [{"then": "unavailable"}]}) as response:
            assert response.status == 200
        async with session.post(url, json={}) as response:
            assert response.status == 503
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK
    assert said["provider"] == "gemini"
    assert isinstance(said["seed"], int)


async def test_it_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    async with fake_gemini() as server:
        port = server.url.rpartition(":")[2]
        async with command(tmp_path, "runpod", "--port", port) as taken:
            _, told = await taken.communicate()
    async with command(tmp_path, "runpod", "--script", '{"rules": [{"then": "moderated"}]}') as unknown:
        _, complained = await unknown.communicate()
    assert (taken.returncode, unknown.returncode) == (ExitCode.CONFIGURATION, ExitCode.USAGE)
    assert f"cannot listen on 127.0.0.1:{port}" in told.decode()
    assert "no behaviour is called" in complained.decode()


async def _posted(session: ClientSession, url: str, body: object) -> None:
    headers = {"x-goog-api-key": "k", "Authorization": "Bearer k"}
    try:
        async with session.post(url, json=body, headers=headers, timeout=TIMEOUT) as response:
            await response.read()
    except ClientError:
        pass


def without_hangs(script: Played) -> Played:
    """No client reaches its time-out, which would make the outcome depend on speed."""
    rules = tuple(rule for rule in script.rules if rule.then.do != "hang")
    return script.model_copy(update={"rules": rules, "image_side_max": 16})


def done(calls: list[Call]) -> dict[str, str | None]:
    return {call.prompt: call.did for call in calls}


async def test_chaos_is_the_same_for_the_same_seed_and_the_server_survives_it(caplog: pytest.LogCaptureFixture) -> None:
    script = without_hangs(gemini_script.READY["chaos"])
    met = []
    for seed in (1, 1, 2):
        async with fake_gemini(script, seed=seed) as server, ClientSession() as session:
            url = f"{server.url}/v1beta/models/gemini-3.1-flash-image:generateContent"
            bodies = [{"contents": [{"parts": [{"text": f"picture {number}"}]}]} for number in range(REQUESTS)]
            await asyncio.gather(*(_posted(session, url, body) for body in bodies))
        met.append(done(server.calls))
    assert met[0] == met[1] != met[2]
    assert {"error", "no_images", "images", None} <= set(met[0].values())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_the_server_survives_the_chaos_of_runpod_too(caplog: pytest.LogCaptureFixture) -> None:
    script = without_hangs(runpod_script.READY["chaos"])
    met = []
    for _ in range(2):
        async with fake_runpod(script, seed=3) as server, ClientSession() as session:
            plain = {"seed": 1, "width": 64, "height": 64, "model": "m", "attempt": 1}
            bodies = [
                {"input": {**plain, "prompt": f"picture {number}", "generation_id": str(new_id())}}
                for number in range(REQUESTS)
            ]
            await asyncio.gather(*(_posted(session, f"{server.url}/v2/e/run", body) for body in bodies))
        met.append(done(server.calls))
    assert met[0] == met[1]
    assert {"error", "job", "reset", None} <= set(met[0].values())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
