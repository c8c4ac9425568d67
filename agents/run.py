"""The two faust roles: the projector, and the live tables for operators."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.app import log_topic, new_app
from agents.app_runner import run_app
from agents.lag import reporting_lag
from agents.live_tables import add_live_tables, window_parts
from agents.project_events import add_project_events
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.changelogs import ensure_changelogs
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog, Forwarding
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.plain_arrays import arrays_are_lists
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.process.background import background_task
from gengui_stream.process.collection import collect_seldom
from gengui_stream.projecting.batches import sliced
from gengui_stream.projecting.dead_letter_limits import DeadLetterLimits
from gengui_stream.projecting.notifications import notify_after_commit
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.timeline_retention import keep_pruning
from gengui_stream.recovery.generations.determinism import keep_checking
from gengui_stream.recovery.pauses import pauses
from gengui_stream.redis_io.notification_buffer import opened_buffer
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.role_context import RoleContext


async def run_agents(role: RoleContext) -> None:
    """Projects the partitions that the consumer group assigns to this process, until `stop` is set.

    Raises TransientError while a server is unavailable at the start, and the error that ends the app later:
    FencedError, BugError.
    """
    settings, stop, metrics = role.settings, role.stop, role.metrics
    collect_seldom()
    arrays_are_lists()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(opened_pool(settings))
        redis = await stack.enter_async_context(opened_redis(settings))
        await ensure_topic(settings)
        log = await stack.enter_async_context(EventLog(settings))
        projector = Projector(
            pool,
            settings.events_topic,
            job_timings(settings),
            limits=DeadLetterLimits(settings.dead_letters_max_consecutive, settings.dead_letters_max_share),
            forwarding=Forwarding(log, settings.events_partitions),
        )
        buffer = await stack.enter_async_context(opened_buffer(NotificationPublisher(redis)))
        committed = notify_after_commit(buffer, metrics)
        queues = PartitionQueues(
            projector,
            committed,
            log_ends(settings),
            settings.projector_batch_max,
            await stack.enter_async_context(_ending(stop)),
            retry_max_s=settings.projector_retry_max_s,
            pauses=partial(pauses, pool, settings.events_topic),
        )
        datadir = Path(stack.enter_context(TemporaryDirectory(prefix="gengui-agents-")))
        cut = partial(sliced, size=settings.projector_batch_max)
        app = new_app(settings, settings.consumer_group, datadir, cut, queues)
        add_project_events(app, log_topic(app, settings), queues)
        await stack.enter_async_context(_pruned_timeline(role, pool, projector))
        await stack.enter_async_context(_watched_determinism(role, pool))
        await stack.enter_async_context(reporting_lag(app, queues, projector, role))
        role.health.watch(queues.work_age_s)
        role.health.started()
        await run_app(app, stop, settings.shutdown_grace_s)


@asynccontextmanager
async def _ending(stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """Set at the shutdown, and when the app has crashed, before the pool is closed: faust's own tasks outlive a crash,
    and one that waited for PostgreSQL then would keep the process from its end."""
    ending = asyncio.Event()

    async def follow(_: asyncio.Event) -> None:
        await stop.wait()
        ending.set()

    try:
        async with background_task(follow):
            yield ending
    finally:
        ending.set()


@asynccontextmanager
async def _pruned_timeline(role: RoleContext, pool: Pool, projector: Projector) -> AsyncIterator[None]:
    """Prunes the timeline of the partitions of this process, if the settings ask for it."""
    if role.settings.timeline_retention_s is None:
        yield
        return
    kept = timedelta(seconds=role.settings.timeline_retention_s)
    pruned = role.metrics.pruned.labels("timeline").inc
    async with background_task(lambda _: keep_pruning(pool, kept, lambda: projector.live().keys(), pruned)):
        yield


@asynccontextmanager
async def _watched_determinism(role: RoleContext, pool: Pool) -> AsyncIterator[None]:
    """Folds random generations again, unless the settings forbid it."""
    if not role.settings.determinism_check_every_s:
        yield
        return
    async with background_task(lambda _: keep_checking(role.settings, pool, role.metrics)):
        yield


async def run_live_tables(role: RoleContext) -> None:
    """Maintains the live tables until `stop` is set; `gengui-stream tables` reads their changelogs."""
    settings = role.settings
    await ensure_topic(settings)
    await ensure_changelogs(settings)
    with TemporaryDirectory(prefix="gengui-live-tables-") as datadir:
        cut = partial(window_parts, window_s=settings.in_flight_window_s)
        app = new_app(settings, settings.live_tables_group, Path(datadir), cut)
        add_live_tables(app, log_topic(app, settings), settings)
        role.health.started()
        await run_app(app, role.stop, settings.shutdown_grace_s)
