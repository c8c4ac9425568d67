"""Removes the images and thumbnails of a deleted generation from the object store, once its grace time has passed.

Every step may be repeated: an object that is gone is removed again without an error, and the event has the same id.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.state import Generation
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import process_name
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.log.event_log import Appender
from gengui_stream.media.object_store import Bucket
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.projections import generation_states
from gengui_stream.stamps import repeatable_stamp
from schemas.events import OutputsDeleted

RETRY_CEILING_S: Final = 600.0
"""The objects of a deleted generation must go in the end, so the store is asked again without a limit."""

_EVENT_IDS: Final = UUID("3a0c9e1e-6b0f-5f43-9b0e-2f6d8a1c7d55")

_log = structlog.get_logger(__name__)


class Deleter:
    """Handles deletion jobs. Raises ShutdownRequested at a stop while a server is unavailable: the leases expire."""

    def __init__(
        self, queue: JobQueue, *, store: Bucket, pool: Pool, log: Appender, metrics: Metrics, stop: asyncio.Event
    ) -> None:
        self._queue = queue
        self._store = store
        self._pool = pool
        self._log = log
        self._metrics = metrics
        self._stop = stop

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        for job in jobs:
            began = time.perf_counter()
            outcome = await self._do(job)
            self._metrics.observe_job(job.kind, outcome, time.perf_counter() - began)

    async def _do(self, job: ClaimedJob) -> str:
        state = await retry_transient(partial(self._load, job), self._stop, operation="generation")
        if state is not None and state.deleted_at is not None and state.outputs:
            try:
                await self._remove(state)
            except (TransientError, PermanentError) as error:
                await self._reschedule(job, error)
                return "retried"
            await retry_transient(partial(self._log.append, outputs_deleted(job)), self._stop, operation="log")
        await retry_transient(partial(self._queue.finish, [job.key]), self._stop, operation="jobs")
        return "done"

    async def _load(self, job: ClaimedJob) -> Generation | None:
        with transient_errors():
            return (await generation_states.load(self._pool, [job.generation_id])).get(job.generation_id)

    async def _remove(self, state: Generation) -> None:
        for key in own_keys(state):
            await self._store.remove(key)
        _log.info("outputs_deleted", generation_id=str(state.generation_id), outputs=len(state.outputs))

    async def _reschedule(self, job: ClaimedJob, error: Exception) -> None:
        delay = backoff_seconds(job.tries, salt=job.generation_id.int, ceiling=RETRY_CEILING_S)
        _log.warning("outputs_not_deleted", job_key=job.key, tries=job.tries, error=str(error))
        await retry_transient(
            partial(self._queue.reschedule_after_error, job.key, delay, str(error)), self._stop, operation="jobs"
        )


def own_keys(state: Generation) -> Iterator[str]:
    """The keys of the generation's objects. A worker names the keys of its outputs: one without the generation's id may
    be another generation's object, and stays."""
    for output in state.outputs:
        keys = (output.object_key, output.thumbnail.object_key if output.thumbnail else None)
        yield from (key for key in keys if key is not None and str(state.generation_id) in key)


def outputs_deleted(job: ClaimedJob) -> OutputsDeleted:
    """Repeatable: the event's id derives from the job's key."""
    stamp = repeatable_stamp(_EVENT_IDS, job.key, process_name("thumbnails"))
    return OutputsDeleted(**stamp.envelope(job.generation_id), attempt=job.attempt)
