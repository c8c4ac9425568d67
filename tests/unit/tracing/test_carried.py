"""The way of a trace context through queues and messages: none is lost, and none fails a job."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_span_id

from gengui_stream.bridge.messages import InvalidMessage, translate, without_output
from gengui_stream.providers.interface import Refused
from gengui_stream.providers.local.provider import _entry
from gengui_stream.redis_io.streams import StreamEntry
from gengui_stream.tracing import spans
from gengui_stream.worker.client import WorkerClient
from gengui_stream.worker.http_jobs import HttpJobs
from gengui_stream.worker.http_queue import _fields
from gengui_stream.worker.job import DrawingJob, parse
from gengui_stream.worker.transports import ReportedEvent, status_message
from schemas.events import GenerationCompleted, GenerationStarted, Output
from schemas.worker_jobs import ClaimedJob
from tests.dispatches import a_dispatch
from tests.unit.jobs.stage import Stage
from tests.unit.tracing.conftest import Finished

TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID: Final = TRACEPARENT.split("-")[1]
GENERATION: Final = UUID(int=7)
NOW: Final = datetime(2026, 11, 30, tzinfo=UTC)


class Kept:
    """A transport that keeps what a worker reports."""

    def __init__(self) -> None:
        self.events: list[ReportedEvent] = []

    async def publish(self, events: Sequence[ReportedEvent]) -> None:
        self.events.extend(events)


def test_an_entry_of_the_queue_has_the_trace_context_and_its_worker_reads_it() -> None:
    job = parse(_entry(a_dispatch(traceparent=TRACEPARENT)))
    assert isinstance(job, DrawingJob)
    assert job.traceparent == TRACEPARENT
    assert "traceparent" not in _entry(a_dispatch(traceparent=None))


def test_a_damaged_trace_context_fails_no_job() -> None:
    job = parse({**_entry(a_dispatch()), "traceparent": "x"})
    assert isinstance(job, DrawingJob)
    assert job.traceparent is None


async def test_a_worker_reports_in_the_trace_of_its_job() -> None:
    kept = Kept()
    client = WorkerClient(kept, "me")
    with spans.continued("work", "consumer", TRACEPARENT):
        await client.started(GENERATION, attempt=1)
    await client.started(GENERATION, attempt=1)
    assert [event.traceparent for event in kept.events] == [TRACEPARENT, None]


def test_a_status_message_and_the_bridge_keep_the_trace_context() -> None:
    known = {"id": UUID(int=1), "generation_id": GENERATION, "occurred_at": NOW, "producer": "w"}
    event = GenerationStarted.model_validate({**known, "traceparent": TRACEPARENT})
    message = status_message(event)
    assert message == {"mediaId": str(GENERATION), "status": "processing", "traceparent": TRACEPARENT}
    for text, expected in {TRACEPARENT: TRACEPARENT, "x": None}.items():
        bridged = translate(StreamEntry("1-1", {**message, "traceparent": text}), NOW)
        assert not isinstance(bridged, InvalidMessage)
        assert bridged.traceparent == expected
    completed = GenerationCompleted.model_validate(
        {**known, "traceparent": TRACEPARENT, "outputs": (Output(object_key="k.png"),)}
    )
    assert without_output(completed).traceparent == TRACEPARENT


def a_claimed_job(traceparent: str | None) -> dict[str, object]:
    return {
        "id": str(GENERATION),
        "attempt": 1,
        "lease": "0" * 32,
        "lease_s": 30,
        "lease_expires_at": (NOW + timedelta(seconds=30)).isoformat(),
        "model": "m",
        "prompt": "a lake",
        "seed": 1,
        "width": 512,
        "height": 512,
        "deadline": None,
        **({"traceparent": traceparent} if traceparent else {}),
        "upload_max_bytes": 1,
        "urls": dict.fromkeys(["heartbeat", "upload", "report", "release"], "http://x"),
    }


@asynccontextmanager
async def serving(jobs: list[dict[str, object]]) -> AsyncIterator[tuple[str, list[str | None]]]:
    """An API with these jobs; yields its base URL, and the trace context of each request about a job."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/claim"):
            return web.json_response(jobs.pop(0))
        seen.append(request.headers.get("traceparent"))
        return web.json_response({"state": "running", "lease_expires_at": None})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def test_a_worker_over_http_sends_the_trace_context_of_its_job_with_each_call() -> None:
    given = [a_claimed_job(TRACEPARENT), a_claimed_job(None)]
    async with serving(given) as (url, seen), aiohttp.ClientSession() as session:
        jobs = HttpJobs(session, url, "gg_key", "me")
        claimed = await jobs.claim()
        assert claimed is not None
        assert _fields(claimed)["traceparent"] == TRACEPARENT
        await jobs.heartbeat(GENERATION)
        with spans.continued("work", "consumer", TRACEPARENT.replace("b7", "c8")):
            await jobs.heartbeat(GENERATION)
        await jobs.release(GENERATION)
        untraced = await jobs.claim()
        assert untraced is not None
        assert "traceparent" not in _fields(untraced)
        await jobs.heartbeat(GENERATION)
    assert seen == [TRACEPARENT, TRACEPARENT.replace("b7", "c8"), TRACEPARENT, None]


def test_a_worker_reads_the_jobs_of_an_api_without_trace_contexts() -> None:
    assert ClaimedJob.model_validate_json(orjson.dumps(a_claimed_job(None))).traceparent is None


async def test_without_tracing_a_provider_gets_the_trace_context_of_the_request() -> None:
    stage = Stage()
    await stage.request(traceparent=TRACEPARENT)
    await stage.process.work()
    assert [request.traceparent for request in stage.provider.calls] == [TRACEPARENT]


async def test_a_provider_gets_the_span_of_its_call(finished: Finished) -> None:
    stage = Stage()
    request = await stage.request(traceparent=TRACEPARENT)
    await stage.process.work()
    [call] = finished()
    assert (call.name, call.parent and format_span_id(call.parent.span_id)) == ("dispatch", TRACEPARENT.split("-")[2])
    assert {
        "gengui.generation_id": str(request.generation_id),
        "gengui.attempt": 1,
        "gengui.provider": "first",
        "gengui.model": request.model,
        "gengui.outcome": "dispatched",
        "gengui.provider_job_id": stage.provider.runs[0].job_id,
    } == dict(call.attributes or {})
    assert [one.traceparent for one in stage.provider.calls] == [f"00-{TRACE_ID}-{span_id(call)}-01"]


async def test_a_refused_call_is_a_failed_span_with_the_code(finished: Finished) -> None:
    stage = Stage()
    stage.provider.next_answers.append(Refused("bad_size", "a lighthouse", retryable=False))
    await stage.request(traceparent=TRACEPARENT)
    await stage.process.work()
    [call] = finished()
    assert (call.attributes or {})["error.type"] == "bad_size"
    assert "lighthouse" not in call.to_json()


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)
