"""The fake of RunPod through its socket: jobs, webhooks, health, and the faults of each."""

import asyncio
import base64
import hashlib
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession, ClientTimeout, web
from PIL import Image

from gengui_stream.errors import PermanentError
from gengui_stream.fakes.runpod.script import READY, JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.identifiers import new_id
from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import Settings
from tests.integration.running import eventually

AUTHORIZED = {"Authorization": "Bearer k"}


def job_input(**changes: object) -> dict[str, object]:
    plain = {
        "prompt": "a red fox",
        "seed": 7,
        "width": 64,
        "height": 96,
        "model": "zit-basic",
        "generation_id": str(new_id()),
        "attempt": 1,
    }
    return {**plain, **changes}


class Client:
    """Speaks to one endpoint."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def run(self, server: RunpodServer, given: object = None, **siblings: object) -> str:
        status, body = await self.post(server, "run", {"input": given or job_input(), **siblings})
        assert (status, body["status"]) == (200, "IN_QUEUE")
        return str(body["id"])

    async def status(self, server: RunpodServer, job: str) -> tuple[int, dict[str, object]]:
        async with self.session.get(f"{server.url}/v2/e/status/{job}", headers=AUTHORIZED) as response:
            return response.status, _object(await response.read())

    async def ended(self, server: RunpodServer, job: str) -> dict[str, object]:
        """What /status says once the job has ended."""

        async def look() -> dict[str, object] | None:
            status, body = await self.status(server, job)
            assert status == 200, body
            return body if body["status"] in {"COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"} else None

        found = await eventually(look)
        assert found is not None
        return found

    async def gone(self, server: RunpodServer, job: str) -> bool:
        return (await self.status(server, job))[0] == 404

    async def health(self, server: RunpodServer) -> tuple[dict[str, int], dict[str, int]]:
        """Of the jobs, and of the workers."""
        async with self.session.get(f"{server.url}/v2/e/health", headers=AUTHORIZED) as response:
            body = await response.json()
        return body["jobs"], body["workers"]

    async def post(
        self, server: RunpodServer, path: str, body: object = None, *, within_s: float = 20
    ) -> tuple[int, dict[str, object]]:
        url, timeout = f"{server.url}/v2/e/{path}", ClientTimeout(within_s)
        async with self.session.post(url, json=body, headers=AUTHORIZED, timeout=timeout) as response:
            return response.status, _object(await response.read())


def _object(raw: bytes) -> dict[str, object]:
    body: object = orjson.loads(raw)
    assert isinstance(body, dict)
    return body


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session)


@dataclass
class Hooks:
    """Where webhooks arrive. `answers`: statuses to answer with, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    arrived: list[tuple[str, object]] = field(default_factory=list)

    async def receive(self, http: web.Request) -> web.Response:
        raw = await http.read()
        try:
            body: object = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = raw
        self.arrived.append((http.path, body))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def number(self, count: int) -> bool:
        return len(self.arrived) >= count


@pytest_asyncio.fixture
async def hooks() -> AsyncIterator[Hooks]:
    received, application = Hooks(), web.Application()
    application.router.add_post("/{path:.*}", received.receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    received.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/runpod/secret"
    yield received
    await runner.cleanup()


@asynccontextmanager
async def living(speed: float = 1, **life: object) -> AsyncIterator[RunpodServer]:
    """A server whose jobs all live like that."""
    script = RunpodScript(usual=JobLife.model_validate(life), speed=speed, image_side_max=128)
    async with fake_runpod(script) as server:
        yield server


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


async def test_after_late_progress_the_webhook_knows_better(client: Client, hooks: Hooks) -> None:
    async with living(late_progress_s=60) as server:
        job = await client.run(server, webhook=hooks.url)
        await eventually(lambda: hooks.number(1))
        body = (await client.status(server, job))[1]
    assert (body["status"], body["output"]) == ("IN_PROGRESS", {"percent": 50, "stage": "painting"})
    (_, hook) = hooks.arrived[0]
    assert isinstance(hook, dict)
    assert (hook["id"], hook["status"]) == (job, "COMPLETED")


async def test_a_webhook_is_the_last_status(client: Client, hooks: Hooks) -> None:
    async with living() as server:
        job = await client.run(server, webhook=hooks.url)
        await eventually(lambda: hooks.number(1))
        body = await client.ended(server, job)
    assert hooks.arrived == [("/hooks/runpod/secret", body)]


async def test_a_webhook_is_tried_three_times(client: Client, hooks: Hooks) -> None:
    hooks.answers = [500, 503, 500]
    async with living(speed=200) as server:
        await client.run(server, webhook=hooks.url)
        await eventually(lambda: hooks.number(3))
        await eventually(lambda: tried(server, 3))
        assert [(sent.number, sent.status) for sent in server.deliveries] == [(1, 500), (2, 503), (3, 500)]


async def test_a_webhook_without_a_response(client: Client) -> None:
    async with living(speed=200) as server:
        await client.run(server, webhook="http://127.0.0.1:9/hooks")
        await eventually(lambda: tried(server, 3))
        assert [sent.status for sent in server.deliveries] == [None] * 3


async def test_duplicate_late_and_lost_webhooks(client: Client, hooks: Hooks) -> None:
    async with living(webhooks=3, webhook_s=0.05) as server:
        job = await client.run(server, webhook=hooks.url)
        await eventually(lambda: hooks.number(3))
        server.play(READY["no_webhook"])
        await client.ended(server, await client.run(server, webhook=hooks.url))
        assert {sent.job for sent in server.deliveries} == {job}
    assert len(hooks.arrived) == 3
    assert hooks.arrived[0] == hooks.arrived[1] == hooks.arrived[2]


async def test_forged_webhooks(client: Client, hooks: Hooks) -> None:
    forged = ("wrong_token", "unknown_job", "premature", "finished_job", "not_json")
    async with living(forged=forged, queue_s=0) as server:
        job = await client.run(server, webhook=hooks.url)
        await eventually(lambda: hooks.number(6))
        await eventually(lambda: tried(server, 6))
        kinds = {sent.kind: index for index, sent in enumerate(server.deliveries)}
    assert list(kinds) == ["wrong_token", "unknown_job", "premature", "not_json", "genuine", "finished_job"]
    paths = [path for path, _ in hooks.arrived]
    bodies = [body for _, body in hooks.arrived]
    assert [index for index, path in enumerate(paths) if path != "/hooks/runpod/secret"] == [kinds["wrong_token"]]
    assert bodies[kinds["not_json"]] == b"<html>not json</html>"
    unknown, premature, last = (bodies[kinds[kind]] for kind in ("unknown_job", "premature", "finished_job"))
    assert isinstance(unknown, dict)
    assert isinstance(premature, dict)
    assert isinstance(last, dict)
    assert unknown["id"] != job
    assert (premature["id"], premature["status"]) == (job, "COMPLETED")
    assert (last["id"], last["status"]) == (job, "FAILED")


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ("ready", {"idle": 3, "initializing": 0, "throttled": 0, "unhealthy": 0}),
        ("cold", {"idle": 0, "initializing": 1, "throttled": 0, "unhealthy": 0}),
        ("throttled", {"idle": 0, "initializing": 0, "throttled": 1, "unhealthy": 0}),
        ("crashing", {"idle": 0, "initializing": 0, "throttled": 0, "unhealthy": 1}),
    ],
)
async def test_health_tells_why_a_job_waits(client: Client, workers: str, expected: dict[str, int]) -> None:
    async with living(queue_s=60, workers=workers) as server:
        job = await client.run(server)
        jobs, found = await client.health(server)
        assert (await client.status(server, job))[1]["status"] == "IN_QUEUE"
    assert jobs["inQueue"] == 1
    assert {name: found[name] for name in expected} == expected


async def test_health_can_be_scripted(client: Client) -> None:
    rule = {"when": {"operation": "health"}, "then": {"do": "health", "workers": {"idle": 0, "unhealthy": 2}}}
    async with fake_runpod(RunpodScript.model_validate({"rules": [rule]})) as server:
        workers = (await client.health(server))[1]
    assert (workers["idle"], workers["unhealthy"]) == (0, 2)


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


@pytest.mark.parametrize(
    ("name", "status"),
    [("bad_request", 400), ("no_credit", 402), ("forbidden", 403), ("rate_limited_silent", 429), ("internal", 500)],
)
@pytest.mark.parametrize("operation", ["run", "status", "cancel"])
async def test_errors_of_every_operation(client: Client, name: str, status: int, operation: str) -> None:
    script = RunpodScript.model_validate({"rules": [{"when": {"operation": operation}, "then": name}]})
    async with fake_runpod(script) as server:
        match operation:
            case "run":
                found, body = await client.post(server, "run", {"input": job_input()})
            case "status":
                found, body = await client.status(server, await client.run(server))
            case _:
                found, body = await client.post(server, f"cancel/{await client.run(server)}")
    assert (found, "error" in body) == (status, True)


async def test_a_rate_limit_has_a_retry_time(client: Client) -> None:
    async with (
        fake_runpod(READY["rate_limited"]) as server,
        client.session.post(f"{server.url}/v2/e/run", json={}, headers=AUTHORIZED) as response,
    ):
        assert (response.status, response.headers["Retry-After"]) == (429, "1")


async def test_the_providers_own_limits(client: Client) -> None:
    async with fake_runpod(RunpodScript(limits={"status": 2})) as server:
        job = await client.run(server)
        assert [(await client.status(server, job))[0] for _ in range(3)] == [200, 200, 429]


async def test_connections_fail(client: Client) -> None:
    async with fake_runpod(READY["reset"]) as server:
        with pytest.raises(ClientConnectionError):
            await client.run(server)
        assert server.runs.now == {}
        server.play(READY["half_body"])
        with pytest.raises(ClientPayloadError):
            await client.run(server)
        server.play(READY["hang"])
        with pytest.raises(TimeoutError):
            await client.post(server, "run", {"input": job_input()}, within_s=0.2)
        server.play(READY["html"])
        async with client.session.post(f"{server.url}/v2/e/run", json={}, headers=AUTHORIZED) as response:
            assert (response.status, response.content_type) == (200, "text/html")


async def test_a_job_whose_answer_was_lost_runs_all_the_same(client: Client) -> None:
    """Asking again at once is a second run of the same generation, and the server tells on it."""
    given = job_input()
    async with fake_runpod(READY["reset_after_work"].model_copy(update={"usual": JobLife(run_s=60)})) as server:
        for _ in range(2):
            with pytest.raises(ClientConnectionError):
                await client.run(server, given)
        assert server.overlaps == {given["generation_id"]: 2}


async def test_calls_name_the_generation_the_attempt_and_the_job(client: Client) -> None:
    given = job_input(attempt=2)
    async with living() as server:
        job = await client.run(server, given, s3Config={"accessSecret": "hunter2"})
        await client.status(server, job)
        await client.status(server, "unknown-job")
        async with client.session.get(f"{server.url}/_fake/calls") as response:
            record = await response.json()
    run, known, unknown = server.calls
    assert UUID(run.generation) == UUID(str(given["generation_id"]))
    assert (known.operation, known.generation, known.attempt, known.job) == ("status", run.generation, 2, job)
    assert (unknown.generation, unknown.job, unknown.status) == ("", "unknown-job", 404)
    assert [call["operation"] for call in record["calls"]] == ["run", "status", "status"]
    assert record["deliveries"] == []
    assert "hunter2" not in str(record)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "body"),
        ({}, "input"),
        ({"input": "a"}, "input"),
        ({"input": {}, "webhook": "nowhere"}, "webhook"),
        ({"input": {}, "policy": {"executionTimeout": 100}}, "policy.executionTimeout"),
        ({"input": {}, "policy": {"ttl": 9_999}}, "policy.ttl"),
    ],
)
async def test_what_runpod_would_not_take_is_refused(client: Client, body: object, named: str) -> None:
    async with living() as server:
        status, answer = await client.post(server, "run", body)
    assert status == 400
    assert named in str(answer["error"])


async def test_the_key_and_the_endpoint_are_looked_at(client: Client) -> None:
    script = RunpodScript(endpoints=("e",))
    async with fake_runpod(script, key="k") as server:
        statuses = []
        for endpoint, header in (("e", ""), ("e", "Bearer x"), ("other", "Bearer k"), ("e", "k"), ("e", "Bearer k")):
            headers = {"Authorization": header} if header else {}
            async with client.session.get(f"{server.url}/v2/{endpoint}/health", headers=headers) as response:
                statuses.append(response.status)
        job = await client.run(server)
        async with client.session.get(f"{server.url}/v2/other/status/{job}", headers=AUTHORIZED) as response:
            statuses.append(response.status)
    assert statuses == [401, 401, 404, 200, 200, 404]


async def test_a_second_attempt_once_the_first_is_over_is_no_overlap(client: Client) -> None:
    given = job_input()
    async with living() as server:
        for attempt in (1, 2):
            await client.ended(server, await client.run(server, {**given, "attempt": attempt}))
        assert server.overlaps == {}
        server.play(RunpodScript(usual=JobLife(queue_s=60)))
        await asyncio.gather(client.run(server, given), client.run(server, given))
        assert server.overlaps == {given["generation_id"]: 2}


async def tried(server: RunpodServer, count: int) -> bool:
    return len(server.deliveries) >= count
