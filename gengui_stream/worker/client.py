"""The client by which a worker reports to the log. Import it in your own worker:

    async with open_worker_client(load_settings(), "my-worker") as client:
        await client.started(generation_id, attempt=1)
        await client.progressed(generation_id, 40.0, stage="denoising", attempt=1)
        await client.completed(generation_id, [Output(object_key=key, mime_type="image/png")], attempt=1)

With WORKER_TRANSPORT=http, `client.jobs` also claims jobs; their events need no attempt.

`attempt` comes with the job; without it, the current attempt is meant. Each method returns once its event is stored,
after a few retries if needed. TransientError means that this is unknown: call again, repeated reports change nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final, TypedDict, assert_never
from uuid import UUID

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.identifiers import new_id, process_name
from gengui_stream.log.event_log import EventLog
from gengui_stream.metrics import Metrics
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.settings import Settings
from gengui_stream.tracing.spans import current_traceparent
from gengui_stream.worker.http_jobs import HttpJobs
from gengui_stream.worker.transports import (
    HttpTransport,
    KafkaTransport,
    RedisTransport,
    ReportedEvent,
    Transport,
    open_http_transport,
)
from schemas.events import (
    Failure,
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationStarted,
    Output,
)

TRIES: Final = 4
FIRST_RETRY_S: Final = 0.2


class _Envelope(TypedDict):
    id: UUID
    generation_id: UUID
    attempt: int | None
    occurred_at: datetime
    producer: str
    traceparent: str | None


class WorkerClient:
    """One method per event. Raises TransientError and PermanentError as its transport does."""

    def __init__(self, transport: Transport, producer: str) -> None:
        self._transport = transport
        self._producer = producer

    @property
    def sends_heartbeats(self) -> bool:
        """Whether the transport has heartbeats: the messages of existing workers have none."""
        return not isinstance(self._transport, RedisTransport)

    @property
    def jobs(self) -> HttpJobs:
        """Claims jobs over HTTP. Raises ConfigurationError with another transport: its jobs are on Redis."""
        if not isinstance(self._transport, HttpTransport):
            raise ConfigurationError(["WORKER_TRANSPORT: jobs are claimed over http alone"])
        return self._transport.jobs

    async def started(self, generation_id: UUID, *, attempt: int | None = None) -> None:
        """The work has started."""
        await self.publish(GenerationStarted(**self._envelope(generation_id, attempt), worker=self._producer))

    async def progressed(
        self, generation_id: UUID, percent: float, *, stage: str | None = None, attempt: int | None = None
    ) -> None:
        """`percent`: 0-100. Lower values than the last are ignored."""
        await self.publish(GenerationProgressed(**self._envelope(generation_id, attempt), percent=percent, stage=stage))

    async def heartbeat(self, generation_id: UUID, *, attempt: int | None = None) -> None:
        """For long work without progress to report."""
        await self.publish(GenerationHeartbeatReceived(**self._envelope(generation_id, attempt)))

    async def completed(self, generation_id: UUID, outputs: Sequence[Output], *, attempt: int | None = None) -> None:
        """Call it once the outputs are complete in the object store."""
        await self.publish(GenerationCompleted(**self._envelope(generation_id, attempt), outputs=tuple(outputs)))

    async def failed(
        self, generation_id: UUID, code: str, message: str, *, retryable: bool, attempt: int | None = None
    ) -> None:
        """The attempt failed. `retryable`: another attempt may succeed."""
        failure = Failure(code=code, message=message[:2000].replace("\x00", ""), retryable=retryable)
        await self.publish(GenerationFailed(**self._envelope(generation_id, attempt), error=failure))

    async def moderated(self, generation_id: UUID, reason: str, *, attempt: int | None = None) -> None:
        """The prompt or the image was declined: final."""
        await self.publish(GenerationModerated(**self._envelope(generation_id, attempt), reason=reason))

    async def canceled(self, generation_id: UUID, *, attempt: int | None = None) -> None:
        """The work was stopped on request."""
        await self.publish(GenerationCanceled(**self._envelope(generation_id, attempt)))

    async def publish(self, *events: ReportedEvent) -> None:
        """Publishes events of your own; several in one round trip."""
        for failures in range(1, TRIES):
            try:
                return await self._transport.publish(events)
            except TransientError:
                await asyncio.sleep(backoff_seconds(failures, base=FIRST_RETRY_S))
        return await self._transport.publish(events)

    def _envelope(self, generation_id: UUID, attempt: int | None) -> _Envelope:
        return {
            "id": new_id(),
            "generation_id": generation_id,
            "attempt": attempt,
            "occurred_at": datetime.now(UTC),
            "producer": self._producer,
            "traceparent": current_traceparent(),
        }


@asynccontextmanager
async def open_worker_client(
    settings: Settings, producer: str | None = None, *, metrics: Metrics | None = None
) -> AsyncIterator[WorkerClient]:
    """A client over WORKER_TRANSPORT. Raises TransientError when its server is unavailable."""
    async with AsyncExitStack() as stack:
        name = producer or process_name("worker")
        yield WorkerClient(await _transport(settings, stack, metrics, name), name)


async def _transport(settings: Settings, stack: AsyncExitStack, metrics: Metrics | None, name: str) -> Transport:
    match settings.worker_transport:
        case "kafka":
            return KafkaTransport(await stack.enter_async_context(EventLog(settings, metrics)))
        case "redis":
            return RedisTransport(ProducerStreams(await stack.enter_async_context(opened_redis(settings))))
        case "http":
            if settings.worker_api_url is None or settings.worker_api_key is None:
                raise ConfigurationError(["WORKER_API_URL, WORKER_API_KEY: needed with WORKER_TRANSPORT=http"])
            key = settings.worker_api_key.get_secret_value()
            return await stack.enter_async_context(open_http_transport(settings.worker_api_url, key, name))
        case _:
            assert_never(settings.worker_transport)
