"""The messages of a worker: queue entries, and reports over each transport."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.providers.local.entries import InvalidMessage
from gengui_stream.worker import client as worker_client
from gengui_stream.worker.client import TRIES, WorkerClient
from gengui_stream.worker.job import DrawingJob, parse
from gengui_stream.worker.transports import EVENTS_PATH, ReportedEvent, open_http_transport, status_message
from schemas.events import (
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationStarted,
    Output,
)

GENERATION, OWNER = UUID(int=7), UUID(int=8)
ENTRY = {
    "userId": str(OWNER),
    "mediaId": str(GENERATION),
    "prompt": "a cat",
    "seed": "42",
    "width": "512",
    "height": "256",
    "status": "queued",
}


def test_an_entry_of_the_original_service_is_a_job_without_attempt() -> None:
    job = parse(ENTRY)
    assert isinstance(job, DrawingJob)
    assert (job.owner_id, job.generation_id, job.attempt) == (OWNER, GENERATION, None)
    assert (job.sketch.seed, job.sketch.width, job.sketch.height) == (42, 512, 256)


def test_ours_names_the_attempt() -> None:
    job = parse({**ENTRY, "attempt": "2"})
    assert isinstance(job, DrawingJob)
    assert job.attempt == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"width": "1000000"},
        {"seed": "-1"},
        {"seed": "x"},
        {"prompt": ""},
        {"height": "0"},
        {"userId": "?"},
        {"attempt": "0"},
    ],
)
def test_an_invalid_message_names_the_generation_and_the_fault(fault: dict[str, str]) -> None:
    invalid = parse({**ENTRY, **fault})
    assert isinstance(invalid, InvalidMessage)
    assert invalid.generation_id == GENERATION
    assert next(iter(fault)) in invalid.message


def test_an_invalid_message_without_a_generation_names_none() -> None:
    for entry in ({}, {**ENTRY, "mediaId": "x"}):
        invalid = parse(entry)
        assert isinstance(invalid, InvalidMessage)
        assert invalid.generation_id is None


@given(st.dictionaries(st.sampled_from([*ENTRY, "attempt", "more"]), st.text(max_size=30)))
def test_no_entry_raises(entry: dict[str, str]) -> None:
    parse(entry)
    parse({**ENTRY, **entry})


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "FIRST_RETRY_S", 0.01)


class Recorded:
    """A transport that records events, and raises a given number of errors."""

    def __init__(self, refusals: Sequence[Exception] = ()) -> None:
        self.events: list[ReportedEvent] = []
        self.calls = 0
        self._refusals = list(refusals)

    async def publish(self, events: Sequence[ReportedEvent]) -> None:
        self.calls += 1
        if self._refusals:
            raise self._refusals.pop(0)
        self.events.extend(events)


async def say_everything(client: WorkerClient) -> None:
    await client.started(GENERATION, attempt=2)
    await client.progressed(GENERATION, 40.5, stage="denoising", attempt=2)
    await client.heartbeat(GENERATION, attempt=2)
    await client.completed(GENERATION, [Output(object_key="k.png")], attempt=2)
    await client.failed(GENERATION, "out_of_memory", "no\x00room", retryable=True, attempt=2)
    await client.moderated(GENERATION, "violence", attempt=2)
    await client.canceled(GENERATION, attempt=2)


async def test_each_method_is_one_event() -> None:
    recorded = Recorded()
    await say_everything(WorkerClient(recorded, "me"))
    assert [type(event) for event in recorded.events] == [
        GenerationStarted,
        GenerationProgressed,
        GenerationHeartbeatReceived,
        GenerationCompleted,
        GenerationFailed,
        GenerationModerated,
        GenerationCanceled,
    ]
    assert {(event.generation_id, event.attempt, event.producer) for event in recorded.events} == {
        (GENERATION, 2, "me")
    }
    assert len({event.id for event in recorded.events}) == 7


async def test_what_passes_is_tried_again_with_the_same_event() -> None:
    recorded = Recorded([TransientError("busy")])
    await WorkerClient(recorded, "me").heartbeat(GENERATION)
    assert (recorded.calls, len(recorded.events)) == (2, 1)


async def test_transient_errors_are_raised_after_a_few_tries_and_permanent_ones_at_once(short_pauses: None) -> None:
    away, refusing = Recorded([TransientError("away")] * TRIES), Recorded([PermanentError("no")])
    with pytest.raises(TransientError):
        await WorkerClient(away, "me").heartbeat(GENERATION)
    with pytest.raises(PermanentError):
        await WorkerClient(refusing, "me").heartbeat(GENERATION)
    assert (away.calls, refusing.calls) == (TRIES, 1)


async def test_in_the_words_of_the_status_stream() -> None:
    recorded = Recorded()
    await say_everything(WorkerClient(recorded, "me"))
    media = {"mediaId": str(GENERATION)}
    assert [status_message(event) for event in recorded.events] == [
        media | {"status": "processing"},
        None,
        None,
        media | {"status": "completed", "s3Key": "k.png"},
        media | {"status": "failed", "error": "out_of_memory: noroom"},
        media | {"status": "failed", "error": "moderated: violence"},
        media | {"status": "failed", "error": "canceled"},
    ]


@asynccontextmanager
async def serving(answer: Callable[[dict[str, list[dict[str, object]]]], web.Response]) -> AsyncIterator[str]:
    """An API with this response; yields its base URL."""

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer gg_key":
            return web.json_response({}, status=401)
        return answer(await request.json())

    app = web.Application()
    app.router.add_post(EVENTS_PATH, handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def accepted(body: dict[str, list[dict[str, object]]]) -> web.Response:
    data = [
        {"index": index, "id": event["id"], "outcome": "accepted", "position": f"0:{index}"}
        for index, event in enumerate(body["events"])
    ]
    return web.json_response({"data": data})


def heartbeats(count: int) -> list[ReportedEvent]:
    recorded = GenerationHeartbeatReceived.model_validate_json(
        json.dumps(
            {
                "id": str(new_id()),
                "generation_id": str(GENERATION),
                "occurred_at": "2026-01-01T00:00:00Z",
                "producer": "p",
            }
        )
    )
    return [recorded.model_copy(update={"id": new_id()}) for _ in range(count)]


async def test_http_posts_batches_with_the_key() -> None:
    sizes: list[int] = []

    def answer(body: dict[str, list[dict[str, object]]]) -> web.Response:
        sizes.append(len(body["events"]))
        return accepted(body)

    async with serving(answer) as url, open_http_transport(url + "/", "gg_key") as transport:
        await transport.publish(heartbeats(1001))
    assert sizes == [500, 500, 1]


async def test_http_retries_what_passes(short_pauses: None) -> None:
    answers = [web.Response(status=503), web.Response(status=429), None]
    async with (
        serving(lambda body: answers.pop(0) or accepted(body)) as url,
        open_http_transport(url, "gg_key") as transport,
    ):
        await WorkerClient(transport, "me").heartbeat(GENERATION)
    assert answers == []


async def test_http_raises_the_refusals_and_their_reasons() -> None:
    refusal = {"index": 0, "id": None, "outcome": "refused", "code": "not_yours", "detail": "another worker's"}
    async with serving(lambda _: web.json_response({"data": [refusal]})) as url:
        async with open_http_transport(url, "gg_key") as transport:
            with pytest.raises(PermanentError, match="not_yours: another worker's"):
                await transport.publish(heartbeats(1))
        async with open_http_transport(url, "gg_wrong") as transport:
            with pytest.raises(PermanentError, match="401"):
                await transport.publish(heartbeats(1))


async def test_http_without_a_server_may_pass() -> None:
    async with open_http_transport("http://127.0.0.1:9", "gg_key") as transport:
        with pytest.raises(TransientError):
            await transport.publish(heartbeats(1))
