"""The fake RunPod when something goes wrong: webhooks, limits, refusals, and lost connections."""

import asyncio
from uuid import UUID

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError

from gengui_stream.fakes.runpod.script import READY, JobLife, RunpodScript
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from tests.integration.fakes.runpod.conftest import AUTHORIZED, Client, Hooks, job_input, living
from tests.integration.running import eventually


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
