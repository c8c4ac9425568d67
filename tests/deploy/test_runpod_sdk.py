"""`deploy/runpod/handler.py` under RunPod's SDK, in a separate environment: `make test-runpod` creates it."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gengui_stream.dev.processes.child import Child
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.fakes.runpod.script import READY
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.projector.projecting import projecting
from tests.integration.providers.runpod_scenes import KEY, with_runpod
from tests.integration.running import a_request, eventually, running, state_of
from tests.integration.worker.test_runpod_worker import an_input

pytestmark = [pytest.mark.stack, pytest.mark.runpod]

ROOT: Final = Path(__file__).parents[2]
WORKER: Final = ROOT / "deploy" / "runpod"
PYTHON: Final = ROOT / ".venv-runpod" / "bin" / "python"


def command() -> list[str]:
    """The handler of the image."""
    [said] = re.findall(r"^CMD (\[.*\])$", (WORKER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    program, *arguments = json.loads(said)
    assert program == "python"
    return [str(PYTHON), *arguments]


def bucket(settings: Settings) -> dict[str, str]:
    """The environment of the endpoint: only an object store."""
    assert settings.s3_endpoint is not None
    assert settings.aws_access_key_id is not None
    assert settings.aws_secret_access_key is not None
    return {
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_BUCKET": settings.s3_bucket,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key.get_secret_value(),
    }


def environ(**more: str) -> dict[str, str]:
    """As in the container, without RunPod's checks of its machines."""
    skipped = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **skipped, **more}


def of_endpoint(server: RunpodServer, endpoint: str = "e1") -> dict[str, str]:
    """The variables that RunPod sets in the container of a worker."""
    base = f"{server.url}/v2/{endpoint}"
    return {
        "RUNPOD_POD_ID": "worker-1",
        "RUNPOD_AI_API_KEY": KEY,
        "RUNPOD_ENDPOINT_ID": endpoint,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
    }


@asynccontextmanager
async def container(given: Mapping[str, str], log: Path) -> AsyncIterator[Child]:
    child = Child("runpod-worker", log)
    child.start(command(), environ=dict(given), cwd=WORKER)
    try:
        yield child
    finally:
        await child.stop(grace_s=0)


async def reached(pool: Pool, generation_id: Any, status: Status, worker: Child) -> Any:
    async def look() -> object:
        worker.check_alive()
        state = await state_of(pool, generation_id)
        return state if state and state.status is status else None

    return await eventually(look)


async def ended(http: aiohttp.ClientSession, url: str, job: str) -> Mapping[str, Any]:
    async def look() -> Mapping[str, Any] | None:
        async with http.get(f"{url}/status/{job}") as answer:
            found: Mapping[str, Any] = await answer.json()
        return found if found["status"] not in {"IN_QUEUE", "IN_PROGRESS"} else None

    found = await eventually(look)
    assert found is not None
    return found


async def test_from_a_request_to_the_sdk_and_back(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    async with fake_runpod(READY["outside"], key=KEY) as server:
        made = with_runpod(settings, server.url, runpod_silence_s=1.0, runpod_look_every_s=0.5)
        given = environ(**bucket(settings), **of_endpoint(server))
        async with projecting(made), running(run_dispatch, made), container(given, tmp_path / "log") as worker:
            request = a_request(provider="runpod", model="zit-basic", width=256, height=256)
            await event_log.append(request)
            state = await reached(pool, request.generation_id, Status.COMPLETED, worker)
            [output] = state.outputs
            async with open_object_store(settings) as store:
                assert len(await store.get(output.object_key, 10_000_000)) == output.bytes

            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGTERM)
            async with asyncio.timeout(30):
                await worker.ended()
            assert worker.exit_code == 0, worker.log_tail()


async def test_what_the_handler_raises_arrives_as_the_sdk_words_it(settings: Settings, tmp_path: Path) -> None:
    async with (
        fake_runpod(READY["outside"], key=KEY) as server,
        aiohttp.ClientSession(headers={"Authorization": KEY}) as http,
        container(environ(**bucket(settings), **of_endpoint(server)), tmp_path / "log"),
    ):
        url = f"{server.url}/v2/e1"
        for changes, message in [({"width": 4096}, "width: 4096 pixels"), ({"seed": -1}, "seed: must be")]:
            async with http.post(f"{url}/run", json={"input": an_input(**changes)}) as answer:
                job = (await answer.json())["id"]
            found = await ended(http, url, job)
            assert found["status"] == "FAILED"
            said = json.loads(found["error"])
            assert message in said["error_message"]
            assert said["error_type"] == "<class 'ValueError'>"


async def test_progress_arrives_while_the_job_runs(settings: Settings, tmp_path: Path) -> None:
    async with (
        fake_runpod(READY["outside"], key=KEY) as server,
        aiohttp.ClientSession(headers={"Authorization": KEY}) as http,
        container(environ(**bucket(settings), **of_endpoint(server)), tmp_path / "log"),
    ):
        url = f"{server.url}/v2/e1"
        async with http.post(f"{url}/run", json={"input": an_input(width=2048, height=2048)}) as answer:
            job = (await answer.json())["id"]
        said = list[float]()

        async def completed() -> bool:
            async with http.get(f"{url}/status/{job}") as answer:
                found = await answer.json()
            if found["status"] == "IN_PROGRESS" and "output" in found:
                said.append(found["output"]["percent"])
            return bool(found["status"] == "COMPLETED")

        await eventually(completed)
        assert said == sorted(said)
        assert said
        assert said[-1] < 100


async def test_the_local_mode_of_the_sdk(settings: Settings) -> None:
    """`python handler.py --test_input '{"input": ...}'`, as in RunPod's guide."""
    job = json.dumps({"input": an_input(width=64, height=64)})
    process = await asyncio.create_subprocess_exec(
        *(*command(), "--test_input", job),
        cwd=WORKER,
        env=environ(**bucket(settings)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert "'object_key': 'users/1/media/1.png'" in out.decode()


async def test_wrong_settings_end_it_with_a_line_for_each(tmp_path: Path) -> None:
    given = environ(S3_ENDPOINT="objects:8333", S3_BUCKET="No_Such_Name")
    async with container(given, tmp_path / "log") as worker:
        async with asyncio.timeout(60):
            await worker.ended()
        said = (tmp_path / "log").read_text()
    assert worker.exit_code == 78, said
    assert {line.split(": ")[1] for line in said.splitlines()} == {"S3_ENDPOINT", "S3_BUCKET"}
    assert "Traceback" not in said
