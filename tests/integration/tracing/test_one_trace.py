"""One trace follows a generation from the client through every role, whatever transport its worker has. In one test, as
the roles take longer to start than three generations."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final
from uuid import UUID

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id
from pydantic import SecretStr

from agents.run import run_agents
from api.server import served_api
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.bridge.run import run_bridge
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.domain.generation.state import Status
from gengui_stream.postgres.pool import Pool
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.tracing.export import recorded
from gengui_stream.worker import http_queue
from gengui_stream.worker.run import run_worker
from tests.integration.running import eventually, logged, role_context, running, state_of

pytestmark = pytest.mark.stack

ROLES: Final[Sequence[Callable[[RoleContext], Awaitable[None]]]] = (
    run_agents,
    run_dispatch,
    run_thumbnails,
    run_bridge,
)
"""Besides the API and the worker."""

JOB: Final = "POST /v1/worker/jobs/{id}"
EVERYWHERE: Final = frozenset({"POST /v1/generations", "append", "fold", "dispatch", "work", "thumbnail"})
OF_A_TRANSPORT: Final[Mapping[str, frozenset[str]]] = {
    "kafka": frozenset(),
    "redis": frozenset(),
    "http": frozenset({f"{JOB}/heartbeat", f"{JOB}/upload", f"{JOB}/report"}),
}
"""The spans of a trace, by their names."""

CLIENT_SPAN: Final = "b7ad6b7169203331"


class Trace:
    """The spans of one client's trace."""

    def __init__(self, number: int, exporter: InMemorySpanExporter) -> None:
        self.id = f"{number:032x}"
        self._exporter = exporter

    @property
    def traceparent(self) -> str:
        return f"00-{self.id}-{CLIENT_SPAN}-01"

    def spans(self) -> list[ReadableSpan]:
        found = self._exporter.get_finished_spans()
        return [span for span in found if span.context and format_trace_id(span.context.trace_id) == self.id]

    def names(self) -> set[str]:
        return {span.name for span in self.spans()}

    def ids(self, name: str) -> list[str]:
        return [format_span_id(span.context.span_id) for span in self.spans() if span.name == name and span.context]

    def parents(self, name: str) -> set[str]:
        return {format_span_id(span.parent.span_id) for span in self.spans() if span.name == name and span.parent}


@pytest.fixture
def exporter(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing is on for every role of the test. A worker over HTTP notices its end within half a second, not five."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setattr(http_queue, "WAIT_S", 0.5)
    exporter = InMemorySpanExporter()
    with recorded(settings, "test", exporter):
        yield exporter


async def test_one_trace_from_the_request_to_the_thumbnail(
    settings: Settings, pool: Pool, exporter: InMemorySpanExporter
) -> None:
    key, workers_key = await seed_user(pool, "u@example.com", "user"), await seed_user(pool, "w@example.com", "worker")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served_api(role_context(settings)))
        session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        for role in ROLES:
            await stack.enter_async_context(running(role, settings))
        over = {"worker_api_url": f"http://127.0.0.1:{port}", "worker_api_key": SecretStr(workers_key)}
        for number, transport in enumerate(OF_A_TRANSPORT, start=1):
            trace = Trace(number, exporter)
            made = settings.model_copy(update={"worker_transport": transport, **over})
            async with running(run_worker, made):
                generation_id = await _requested(session, key, trace)
                await eventually(partial(_is_settled, pool, generation_id))
            await eventually(partial(_has_all, trace, transport))
            await _check(trace, settings, generation_id)


async def _requested(session: aiohttp.ClientSession, key: str, trace: Trace) -> UUID:
    headers = {"Authorization": f"Bearer {key}", "traceparent": trace.traceparent}

    async def is_ready() -> bool:
        async with session.get("/readyz") as answer:
            return answer.status == 200

    await eventually(is_ready)
    async with session.post(
        "/v1/generations", json={"prompt": "a lighthouse", "width": 256, "height": 256}, headers=headers
    ) as answer:
        assert answer.status == 202, await answer.text()
        return UUID((await answer.json())["id"])


async def _is_settled(pool: Pool, generation_id: UUID) -> bool:
    state = await state_of(pool, generation_id)
    return state is not None and state.status is Status.COMPLETED and state.settled


async def _has_all(trace: Trace, transport: str) -> bool:
    return trace.names() == EVERYWHERE | OF_A_TRANSPORT[transport]


async def _check(trace: Trace, settings: Settings, generation_id: UUID) -> None:
    [post], [dispatch], [work] = (trace.ids(name) for name in ("POST /v1/generations", "dispatch", "work"))
    assert trace.parents("POST /v1/generations") == {CLIENT_SPAN}
    assert trace.parents("dispatch") == trace.parents("thumbnail") == {post}
    assert trace.parents("work") == {dispatch}
    assert post in trace.parents("append")
    assert {span.status.status_code for span in trace.spans()} == {StatusCode.UNSET}
    assert "lighthouse" not in "".join(span.to_json() for span in trace.spans())
    events = [event for event in await logged(settings) if event.generation_id == generation_id]
    assert {event.type for event in events} >= {"generation.started", "generation.completed", "thumbnail.created"}
    carried = {event.type: str(event.traceparent).split("-")[1:3] for event in events}
    assert {trace_id for trace_id, _ in carried.values()} == {trace.id}
    assert carried["generation.requested"][1] == post
    assert work in {carried["generation.completed"][1], *trace.parents(f"{JOB}/report")}
