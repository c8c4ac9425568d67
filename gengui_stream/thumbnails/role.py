"""The role `thumbnails`: fetches an output, stores its thumbnail, appends `thumbnail.created` or `thumbnail.failed`.
It also removes the objects of deleted generations.

A repeated job writes the same object and appends an event with the same id, which the fold ignores. A failed thumbnail
leaves its generation completed.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from gengui_stream.deletion.handler import Deleter
from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.identifiers import owner_name
from gengui_stream.jobs.loop import JobHandler, run_job_loops
from gengui_stream.jobs.queue import PostgresJobQueue
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.media.thumbnails import Limits
from gengui_stream.postgres.pool import open_pool
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.process.malloc import share_heaps
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings
from gengui_stream.thumbnails.handler import ThumbnailJobs
from gengui_stream.thumbnails.thumbnailer import Thumbnailer

CONNECTIONS: Final = 4

_log = structlog.get_logger(__name__)


async def run_thumbnails(role: RoleContext) -> None:
    """Runs until `stop` is set, then finishes the claimed jobs. Retries while a server is unavailable."""
    share_heaps()
    async with AsyncExitStack() as stack:
        try:
            await _run(role, stack)
        except ShutdownRequested:
            _log.info("thumbnails_stopped_while_waiting")


async def _run(role: RoleContext, stack: AsyncExitStack) -> None:
    settings, stop, metrics = role.settings, role.stop, role.metrics
    pool = await retry_transient(partial(open_pool, settings, size=CONNECTIONS), stop, operation="database")
    stack.push_async_callback(pool.close)
    log = EventLog(settings, metrics)
    stack.push_async_callback(log.stop)
    await retry_transient(log.start, stop, operation="broker")
    store = await stack.enter_async_context(open_object_store(settings))
    threads = stack.enter_context(ThreadPoolExecutor(settings.thumbnail_threads, thread_name_prefix="thumbnail"))
    owner = owner_name("thumbnails")
    thumbnails = PostgresJobQueue(pool, "thumbnail", owner=owner, lease_seconds=settings.job_lease_s)
    deletions = PostgresJobQueue(pool, "deletion", owner=owner, lease_seconds=settings.job_lease_s)
    thumbnailer = Thumbnailer(store, threads, limits_of(settings), metrics)
    jobs = ThumbnailJobs(thumbnails, thumbnailer=thumbnailer, pool=pool, log=log, metrics=metrics, stop=stop)
    deleter = Deleter(deletions, store=store, pool=pool, log=log, metrics=metrics, stop=stop)
    # Twice as many jobs as threads: one is fetched or stored while another is decoded.
    slots = 2 * settings.thumbnail_threads
    role.health.started()
    handlers: dict[JobKind, JobHandler] = {
        "thumbnail": JobHandler(thumbnails, thumbnails.claim, jobs.work, batch=1, in_flight_max=slots),
        "deletion": JobHandler(deletions, deletions.claim, deleter.work, batch=1, in_flight_max=1),
    }
    _log.info("thumbnails_started", threads=settings.thumbnail_threads)
    await run_job_loops(settings, handlers, stop)


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.thumbnail_size, settings.thumbnail_max_bytes, settings.thumbnail_max_pixels)
