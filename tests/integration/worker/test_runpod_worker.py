"""The worker for RunPod Serverless: its outputs, its failures, and the path from a request through it and back."""

import asyncio
import base64
import hashlib
import io
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from PIL import Image

from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.fakes.runpod.script import READY, JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from gengui_stream.worker import runpod
from gengui_stream.worker.runpod import Progress, Report, RunpodWorker, Updates, store_settings
from schemas.runpod_worker import InlineImage, RunpodWorkerInput, StoredImage
from tests.integration.projector.projecting import projecting
from tests.integration.providers.runpod_scenes import KEY, with_runpod
from tests.integration.running import a_request, eventually, running, state_of
from tests.integration.worker.runpod_workers import SdkWorker, sdk_worker

pytestmark = pytest.mark.stack


def an_input(**changes: object) -> dict[str, object]:
    plain = {
        "prompt": "a red fox",
        "seed": 7,
        "width": 256,
        "height": 320,
        "model": "zit-basic",
        "generation_id": str(new_id()),
        "attempt": 1,
        "object_key": "users/1/media/1.png",
    }
    return {**plain, **changes}


def silent(_: Mapping[str, object]) -> None:
    """Progress is ignored."""


async def test_it_stores_under_the_key_and_returns_what_it_stored(settings: Settings) -> None:
    async with open_object_store(settings) as store:
        worker, updates = RunpodWorker(store), list[Mapping[str, object]]()
        output = StoredImage.model_validate(await worker.handle(an_input(), updates.append))
        body = await store.get(output.object_key, 10_000_000)
        assert (output.object_key, output.mime_type) == ("users/1/media/1.png", "image/png")
        assert (output.bytes, output.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        assert Image.open(io.BytesIO(body)).size == (output.width, output.height) == (256, 320)
        assert [said["percent"] for said in updates] == [25.0, 50.0, 75.0]
        assert await worker.handle(an_input(), silent) == output.model_dump(mode="json"), "done twice, it is the same"


async def test_without_a_key_it_returns_the_image(settings: Settings) -> None:
    async with open_object_store(settings) as store:
        output = InlineImage.model_validate(await RunpodWorker(store).handle(an_input(object_key=None), silent))
    body = base64.b64decode(output.image_base64)
    assert (output.bytes, output.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert Image.open(io.BytesIO(body)).size == (256, 320)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (None, "input: must be an object"),
        ({}, "prompt: is required; seed: is required"),
        (an_input(width="wide"), "width: must be a whole number"),
        (an_input(width=4096), "width: 4096 pixels; from 16 to 2048 can be painted"),
        (an_input(height=1), "height: 1 pixels; from 16 to 2048 can be painted"),
    ],
    ids=["no object", "empty", "text", "large", "small"],
)
async def test_an_invalid_input_has_a_reason(settings: Settings, given: object, complaint: str) -> None:
    async with open_object_store(settings) as store:
        with pytest.raises(ValueError, match=complaint):
            await RunpodWorker(store).handle(given, silent)


async def test_what_a_painter_makes_is_looked_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dimensions and type are those of the bytes, not of the request."""

    def jpeg(job: RunpodWorkerInput, report: Report) -> bytes:
        target = io.BytesIO()
        Image.new("RGB", (30, 20)).save(target, "JPEG")
        return target.getvalue()

    async with open_object_store(settings) as store:
        output = StoredImage.model_validate(await RunpodWorker(store, jpeg).handle(an_input(), silent))
        assert (output.mime_type, output.width, output.height) == ("image/jpeg", 30, 20)
        with pytest.raises(ValueError, match="the painter returned no image: neither PNG, JPEG nor WebP"):
            await RunpodWorker(store, lambda job, report: b"noise").handle(an_input(), silent)
        monkeypatch.setattr(runpod, "INLINE_MAX_BYTES", 10)
        with pytest.raises(ValueError, match="RunPod returns 10 at most: give an object_key"):
            await RunpodWorker(store, jpeg).handle(an_input(object_key=None), silent)


async def test_a_store_that_is_unavailable_fails_the_job(settings: Settings) -> None:
    async with open_object_store(settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})) as nowhere:
        with pytest.raises(TransientError, match="object store"):
            await RunpodWorker(nowhere).handle(an_input(), silent)


def test_the_variables_of_a_container_on_runpod_are_no_settings_of_ours() -> None:
    given = {
        "RUNPOD_ENDPOINT_ID": "e1",
        "RUNPOD_POD_ID": "w1",
        "PORT": "none",
        "S3_BUCKET": "images",
        "AWS_REGION": "x",
    }
    settings = store_settings(given)
    assert (settings.s3_bucket, settings.aws_region, settings.runpod_endpoint_id) == ("images", "x", None)


def test_the_whole_is_never_an_update() -> None:
    """RunPod may take a late update for the state of an ended job."""
    said = list[Mapping[str, object]]()
    updates = Updates(said.append)
    for share in (0.1, 0.3, 0.31, 0.99, 1.0):
        updates.report(share)
    assert [one["percent"] for one in said] == [30.0, 99.0]


@asynccontextmanager
async def working(settings: Settings, pool: Pool, worker: RunpodWorker) -> AsyncIterator[SdkWorker]:
    """The system with a RunPod whose jobs this worker runs."""
    script = READY["outside"]
    async with fake_runpod(script, settings=settings, key=KEY) as server:
        made = with_runpod(settings, server.url, runpod_silence_s=1.0, runpod_look_every_s=0.5, cancel_grace_s=2.0)
        url = f"{server.url}/v2/e1"
        # The projector has these settings as well: it plans the first look at an attempt.
        async with projecting(made), running(run_dispatch, made), sdk_worker(url, KEY, worker.handle) as sdk:
            yield sdk


async def reached(pool: Pool, generation_id: Any, status: Status) -> Any:
    async def look() -> object:
        state = await state_of(pool, generation_id)
        return state if state and state.status is status else None

    return await eventually(look)


async def test_from_a_request_to_the_worker_and_back(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async with open_object_store(settings) as store, working(settings, pool, RunpodWorker(store)) as sdk:
        requests = [a_request(provider="runpod", model="zit-basic", width=256, height=256) for _ in range(3)]
        await event_log.append_many(requests)
        for request in requests:
            state = await reached(pool, request.generation_id, Status.COMPLETED)
            [output] = state.outputs
            body = await store.get(output.object_key, 10_000_000)
            assert (output.width, output.sha256) == (256, hashlib.sha256(body).hexdigest())
            assert state.attempt == 1
        assert len(sdk.taken) == len(requests)


async def test_what_the_worker_raises_is_the_failure_of_the_attempt(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    def broken(job: RunpodWorkerInput, report: Report) -> bytes:
        raise RuntimeError(f"no weights for {job.model}")

    async with open_object_store(settings) as store, working(settings, pool, RunpodWorker(store, broken)):
        request = a_request(provider="runpod", model="zit-basic", width=256, height=256, max_attempts=1)
        await event_log.append(request)
        state = await reached(pool, request.generation_id, Status.FAILED)
        assert state.error.message == "no weights for zit-basic"


async def test_a_job_that_is_canceled_is_stopped_at_the_worker(settings: Settings) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def handle(given: object, progress: Progress) -> Mapping[str, object]:
        progress({"percent": 10})
        loop.call_soon(begun.set)
        await asyncio.to_thread(go_on.wait)
        return {}

    life = JobLife(worker="outside")
    async with fake_runpod(RunpodScript(usual=life), settings=settings, key=KEY) as server:
        url = f"{server.url}/v2/e1"
        async with sdk_worker(url, KEY, handle) as sdk, aiohttp.ClientSession(headers={"Authorization": KEY}) as http:
            async with http.post(f"{url}/run", json={"input": an_input()}) as answer:
                job = (await answer.json())["id"]

            async def status() -> Mapping[str, object]:
                async with http.get(f"{url}/status/{job}") as answer:
                    found: Mapping[str, object] = await answer.json()
                    return found

            async def told() -> bool:
                return (await status()).get("output") == {"percent": 10}

            await begun.wait()
            await eventually(told)
            async with http.post(f"{url}/cancel/{job}") as answer:
                assert (await answer.json())["status"] == "CANCELLED"

            async def stopped() -> bool:
                return sdk.stopped == [job]

            await eventually(stopped)
            go_on.set()  # what it returns after all changes nothing
            async with http.get(f"{url}/job-take/other") as answer:
                assert answer.status in {200, 204}
            assert (await status())["status"] == "CANCELLED"


async def test_jobs_are_for_workers_with_the_key(settings: Settings) -> None:
    async with (
        fake_runpod(READY["outside"], settings=settings, key=KEY) as server,
        aiohttp.ClientSession(headers={"Authorization": "another"}) as http,
    ):
        url = f"{server.url}/v2/e1"
        for method, path in [("GET", "job-take/w1"), ("POST", "job-done/w1/j1"), ("GET", "job-stop/w1")]:
            async with http.request(method, f"{url}/{path}", data=json.dumps({})) as answer:
                assert answer.status == 401
        for body, status in [(b"{}", 404), (b"nothing", 400)]:
            async with http.post(f"{url}/job-done/w1/j1", data=body, headers={"Authorization": KEY}) as answer:
                assert answer.status == status
