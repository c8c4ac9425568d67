"""The fake of RunPod through its socket: jobs, webhooks, health, and the faults of each."""

import base64
import hashlib
import io
import time

import orjson
import pytest
from PIL import Image

from gengui_stream.errors import PermanentError
from gengui_stream.fakes.runpod.script import READY, JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import Settings
from tests.integration.fakes.runpod.conftest import Client, Hooks, job_input, living
from tests.integration.running import eventually


def picture(output: object) -> Image.Image:
    assert isinstance(output, dict)
    body = base64.b64decode(output["image_base64"], validate=True)
    assert (len(body), hashlib.sha256(body).hexdigest()) == (output["bytes"], output["sha256"])
    found = Image.open(io.BytesIO(body))
    found.load()
    return found


async def test_a_job_from_queue_to_image(client: Client) -> None:
    async with living(queue_s=60) as server:
        queued = await client.run(server)
        assert (await client.status(server, queued))[1] == {"id": queued, "status": "IN_QUEUE"}
        server.play(RunpodScript(usual=JobLife(end="never")))
        running = await client.run(server)

        async def said() -> object:
            return (await client.status(server, running))[1].get("output")

        assert await eventually(said) == {"percent": 50, "stage": "painting"}
        assert (await client.status(server, running))[1]["status"] == "IN_PROGRESS"
        server.play(RunpodScript(image_side_max=128))
        body = await client.ended(server, await client.run(server))
        jobs = {"completed": 1, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0}
        assert (await client.health(server))[0] == jobs
        assert len(server.runs.now) == 2
    assert body["status"] == "COMPLETED"
    assert picture(body["output"]).size == (64, 96)
    assert isinstance(body["delayTime"], int)
    assert isinstance(body["executionTime"], int)
    assert server.overlaps == {}


@pytest.mark.stack
async def test_the_worker_stores_the_image_under_its_key(client: Client, settings: Settings) -> None:
    async with fake_runpod(settings=settings) as server, open_object_store(settings) as store:
        output = (await client.ended(server, await client.run(server, job_input(object_key="users/u/x.png"))))["output"]
        assert isinstance(output, dict)
        body = await store.get("users/u/x.png", 10**7)
        server.play(READY["missing_object"])
        await client.ended(server, await client.run(server, job_input(object_key="users/u/y.png")))
        server.play(READY["wrong_key"])
        elsewhere = await client.ended(server, await client.run(server, job_input(object_key="users/u/z.png")))
        server.play(READY["not_an_image"])
        await client.ended(server, await client.run(server, job_input(object_key="users/u/noise.png")))
        assert (await store.get("users/u/noise.png", 10**7))[:4] == bytes(range(4))
        for missing in ("users/u/y.png", "users/u/z.png"):
            with pytest.raises(PermanentError):
                await store.get(missing, 10**7)
    assert output == {
        "object_key": "users/u/x.png",
        "mime_type": "image/png",
        "width": 64,
        "height": 96,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    assert Image.open(io.BytesIO(body)).size == (64, 96)
    assert isinstance(elsewhere["output"], dict)
    assert elsewhere["output"]["object_key"] == "users/u/z.png.elsewhere"


@pytest.mark.parametrize(
    ("output", "expected"), [("text", "done"), ("none", None), ("list", list), ("not_an_image", dict)]
)
async def test_output_may_be_anything(client: Client, output: str, expected: object) -> None:
    async with living(output=output) as server:
        body = await client.ended(server, await client.run(server))
    assert body["status"] == "COMPLETED"
    assert body.get("output") == expected or (isinstance(expected, type) and isinstance(body["output"], expected))
    assert ("output" in body) == (expected is not None)


async def test_failures_are_json_in_a_string_or_a_plain_one(client: Client) -> None:
    async with living(end="failed") as server:
        raised = await client.ended(server, await client.run(server))
        server.play(READY["failed_plainly"])
        plain = await client.ended(server, await client.run(server))
    assert [body["status"] for body in (raised, plain)] == ["FAILED"] * 2
    assert orjson.loads(str(raised["error"]))["error_type"] == "<class 'torch.cuda.OutOfMemoryError'>"
    assert plain["error"] == "prompt could not be encoded"


async def test_an_impossible_job_fails(client: Client) -> None:
    async with living() as server:
        invalid = await client.ended(server, await client.run(server, job_input(width=0)))
        unstored = await client.ended(server, await client.run(server, job_input(object_key="a/b.png")))
    assert "width" in orjson.loads(str(invalid["error"]))["error_message"]
    assert orjson.loads(str(unstored["error"]))["error_type"] == "<class 'KeyError'>"


async def test_time_runs_out(client: Client) -> None:
    async with living(end="timed_out") as server:
        said = await client.ended(server, await client.run(server))
        server.play(RunpodScript(usual=JobLife(end="never"), speed=50))
        policy = {"executionTimeout": 5_000}
        cut = await client.ended(server, await client.run(server, policy=policy))
        assert (await client.health(server))[0]["failed"] == 2
    assert (said["status"], cut["status"]) == ("TIMED_OUT", "TIMED_OUT")


@pytest.mark.parametrize(
    ("life", "policy"),
    [
        ({"end": "lost"}, {}),
        ({"vanish_s": 0, "webhooks": 0}, {}),
        ({"queue_s": 60}, {"ttl": 10_000}),
        ({"end": "never"}, {"ttl": 10_000}),
    ],
)
async def test_a_job_that_is_gone_is_not_found(
    client: Client, life: dict[str, object], policy: dict[str, object]
) -> None:
    async with living(speed=50, **life) as server:
        job = await client.run(server, policy=policy)
        await eventually(lambda: client.gone(server, job))
        assert server.runs.now == {}


async def test_undocumented_states(client: Client) -> None:
    async with living(queued_word="PLANNED", queue_s=60) as server:
        assert (await client.status(server, await client.run(server)))[1]["status"] == "PLANNED"
        server.play(RunpodScript(usual=JobLife(running_word="WARMING_UP", end="never")))
        job = await client.run(server)

        async def running() -> bool:
            return (await client.status(server, job))[1]["status"] == "WARMING_UP"

        await eventually(running)


async def test_late_progress_passes(client: Client) -> None:
    async with living(late_progress_s=0.3) as server:
        job = await client.run(server)
        body = await client.ended(server, job)
        found = server.jobs.get("e", job)
        assert found is not None
        assert found.ended_at is not None
        assert time.monotonic() >= found.ended_at + 0.3
    assert picture(body["output"]).size == (64, 96)


async def test_cancel_in_every_state(client: Client) -> None:
    async with living(queue_s=0.1, run_s=0.1) as server:
        finished = await client.run(server)
        await client.ended(server, finished)
        server.play(RunpodScript(usual=JobLife(end="never")))
        running = await client.run(server)
        server.play(RunpodScript(usual=JobLife(queue_s=60)))
        queued = await client.run(server)
        expected = [(finished, "COMPLETED"), (running, "CANCELLED"), (queued, "CANCELLED"), (queued, "CANCELLED")]
        for job, status in expected:
            assert await client.post(server, f"cancel/{job}") == (200, {"id": job, "status": status})
            assert (await client.ended(server, job))["status"] == status
        assert (await client.post(server, "cancel/unknown"))[0] == 404
        assert server.runs.now == {}


async def test_a_cancel_and_a_result_that_cross(client: Client, hooks: Hooks) -> None:
    script = RunpodScript.model_validate(
        {"rules": [{"when": {"operation": "cancel"}, "then": "cancel_ignored"}], "usual": {"run_s": 0.2}}
    )
    async with fake_runpod(script) as server:
        job = await client.run(server, webhook=hooks.url)
        assert (await client.post(server, f"cancel/{job}"))[1] == {"id": job, "status": "CANCELLED"}
        await eventually(lambda: hooks.number(1))
        assert (await client.ended(server, job))["status"] == "COMPLETED"
