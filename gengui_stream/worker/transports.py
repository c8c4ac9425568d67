"""Three transports from a worker to the log. Each raises TransientError when the same events should be published again
(with the same ids, so that none counts twice), and PermanentError when they will never be accepted."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeAlias, assert_never

import aiohttp
from pydantic import ValidationError

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.log.event_log import Appender
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.worker.http_jobs import PASSING_STATUSES, HttpJobs
from schemas.events import (
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationStarted,
)
from schemas.worker import WORKER_BATCH_MAX, WorkerEventOutcomes

STATUS_STREAM: Final = "job:status:stream"
EVENTS_PATH: Final = "/v1/worker/events"
HTTP_TIMEOUT_S: Final = 15.0

LEASED: Final = frozenset(
    {
        "attempt",
        "correlation_id",
        "generation_id",
        "producer",
        "schema_version",
        "traceparent",
        "tracestate",
        "worker",
    }
)
"""Fields of an event that follow from the lease."""

ReportedEvent: TypeAlias = (
    GenerationStarted
    | GenerationProgressed
    | GenerationHeartbeatReceived
    | GenerationCompleted
    | GenerationFailed
    | GenerationModerated
    | GenerationCanceled
)
"""The events that a worker may report."""


class Transport(Protocol):
    """Publishes events in order, and returns once they are stored."""

    async def publish(self, events: Sequence[ReportedEvent]) -> None: ...


class KafkaTransport:
    """Appends to the log: for workers in the same network."""

    def __init__(self, log: Appender) -> None:
        self._log = log

    async def publish(self, events: Sequence[ReportedEvent]) -> None:
        await self._log.append_many(events)


class RedisTransport:
    """Writes the status messages of the original service's workers, which the bridge reads.

    These messages have no attempt, and of several outputs only the first key. Progress and heartbeats are not sent, and
    every end is `completed` or `failed`.
    """

    def __init__(self, streams: ProducerStreams) -> None:
        self._streams = streams

    async def publish(self, events: Sequence[ReportedEvent]) -> None:
        messages = [message for event in events if (message := status_message(event))]
        if messages:
            await self._streams.add_many(STATUS_STREAM, messages)


def status_message(event: ReportedEvent) -> dict[str, str] | None:
    """The event as a message of the status stream; None where the stream has none."""
    message = {"mediaId": str(event.generation_id)}
    if event.traceparent:
        message["traceparent"] = event.traceparent
    match event:
        case GenerationStarted():
            return message | {"status": "processing"}
        case GenerationCompleted():
            return message | {"status": "completed", "s3Key": event.outputs[0].object_key}
        case GenerationFailed():
            return message | {"status": "failed", "error": f"{event.error.code}: {event.error.message}"}
        case GenerationModerated():
            return message | {"status": "failed", "error": f"moderated: {event.reason}"}
        case GenerationCanceled():
            return message | {"status": "failed", "error": "canceled"}
        case GenerationProgressed() | GenerationHeartbeatReceived():
            return None
        case _:
            assert_never(event)


class HttpTransport:
    """For workers anywhere, with a worker's key: events of a claimed job go to that job, others to
    `POST /v1/worker/events`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, worker: str = "worker") -> None:
        self.jobs = HttpJobs(session, base_url, key, worker)
        self._session = session
        self._url = base_url.rstrip("/") + EVENTS_PATH
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    async def publish(self, events: Sequence[ReportedEvent]) -> None:
        others = [event for event in events if event.generation_id not in self.jobs.leases]
        for event in events:
            if event.generation_id in self.jobs.leases:
                await self._report(event)
        for start in range(0, len(others), WORKER_BATCH_MAX):
            status, body = await self._post(_batch_body(others[start : start + WORKER_BATCH_MAX]))
            _check(status, body)

    async def _report(self, event: ReportedEvent) -> None:
        if event.type == "generation.heartbeat_received":
            await self.jobs.heartbeat(event.generation_id)
        else:
            known = event.model_dump(mode="json", exclude=set(LEASED), exclude_none=True)
            await self.jobs.report(event.generation_id, known)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransientError(f"{self._url}: {type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_http_transport(base_url: str, key: str, worker: str = "worker") -> AsyncIterator[HttpTransport]:
    timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        yield HttpTransport(session, base_url, key, worker)


def _batch_body(events: Sequence[ReportedEvent]) -> bytes:
    return b'{"events":[' + b",".join(event.model_dump_json(exclude_none=True).encode() for event in events) + b"]}"


def _check(status: int, body: bytes) -> None:
    if status in PASSING_STATUSES or status >= 500:
        raise TransientError(f"the API answered {status}: {body[:300].decode(errors='replace')}")
    if status >= 300:
        raise PermanentError(f"the API answered {status}: {body[:300].decode(errors='replace')}")
    try:
        outcomes = WorkerEventOutcomes.model_validate_json(body)
    except ValidationError as error:
        raise PermanentError(f"the API's answer cannot be read: {error.error_count()} faults") from error
    refused = [f"{one.index}: {one.code}: {one.detail}" for one in outcomes.data if one.outcome == "refused"]
    if refused:
        raise PermanentError(f"refused: {'; '.join(refused)}"[:2000])
