"""Removes the images and thumbnails of a deleted generation from the object store, once its grace time has passed.

Every step may be repeated: an object that is gone is removed again without an error, and the event has the same id.
"""

import asyncio
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.domain.generation.state import Generation
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import process_name
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.jobs.single import SingleJobs
from gengui_stream.log.event_log import Appender
from gengui_stream.media.object_store import Bucket
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.stamps import repeatable_stamp
from schemas.events import OutputsDeleted

RETRY_CEILING_S: Final = 600.0
"""The objects of a deleted generation must go in the end, so the store is asked again without a limit."""

_EVENT_IDS: Final = UUID("3a0c9e1e-6b0f-5f43-9b0e-2f6d8a1c7d55")

_log = structlog.get_logger(__name__)


class Deleter(SingleJobs):
    """Handles deletion jobs."""

    def __init__(
        self, queue: JobQueue, *, store: Bucket, pool: Pool, log: Appender, metrics: Metrics, stop: asyncio.Event
    ) -> None:
        super().__init__(queue, pool=pool, log=log, metrics=metrics, stop=stop)
        self._store = store

    async def _do(self, job: ClaimedJob) -> str:
        state = await self._load(job)
        if state is not None and state.deleted_at is not None and state.outputs:
            try:
                await self._remove(state)
            except (TransientError, PermanentError) as error:
                delay = backoff_seconds(job.tries, salt=job.generation_id.int, ceiling=RETRY_CEILING_S)
                _log.warning("outputs_not_deleted", job_key=job.key, tries=job.tries, error=str(error))
                await self._reschedule(job, delay, str(error))
                return "retried"
            await self._append(outputs_deleted(job))
        await self._finish(job)
        return "done"

    async def _remove(self, state: Generation) -> None:
        for key in own_keys(state):
            await self._store.remove(key)
        _log.info("outputs_deleted", generation_id=str(state.generation_id), outputs=len(state.outputs))


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
