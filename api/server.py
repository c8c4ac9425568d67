"""The API's process: listens at once, serves once every server has answered, and lets requests finish before it
ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from api.app import make_app
from api.context import ApiContext, ApiState
from api.http.connection import HttpConnection
from api.log_ends import LogEndsCache
from api.notification_fanout import NotificationFanout
from api.pending_appends import PendingAppends
from api.standstill import StandstillDetector
from api.wait_limit import WaitLimit
from gengui_stream.accounts.idempotency import keep_pruning
from gengui_stream.accounts.key_cache import KeyCache
from gengui_stream.errors import BugError, TransientError
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import REQUEST_WAITS, opened_pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.providers.flags.provider_flags import open_flags
from gengui_stream.providers.local.claims import JobClaims
from gengui_stream.providers.local.leases import JobLeases
from gengui_stream.providers.local.rejected_entries import Rejections
from gengui_stream.providers.registry import opened_providers
from gengui_stream.queries.queue_position import QueueSnapshotCache
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.notifications import NotificationPublisher, NotificationSubscriber
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings

APPEND_WITHIN_S: Final = 8.0
"""A request whose event the brokers have not confirmed by then is answered with 503, and repeated with its key."""

_log = structlog.get_logger(__name__)


async def run_api(role: RoleContext) -> None:
    async with served_api(role) as port:
        _log.info("listening", host=role.settings.host, port=port)
        await role.stop.wait()


@asynccontextmanager
async def served_api(role: RoleContext) -> AsyncIterator[int]:
    """Serves on HOST:PORT while the block runs; yields the port. Requests get SHUTDOWN_GRACE_S to finish at the end."""
    settings, state = role.settings, ApiState(role.health, role.metrics)
    runner = web.AppRunner(
        make_app(state, settings),
        access_log=None,
        shutdown_timeout=settings.shutdown_grace_s,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        async with _listening(runner, settings) as server, asyncio.TaskGroup() as tasks:
            living = tasks.create_task(_live(role, state))
            yield int(server.sockets[0].getsockname()[1])
            server.close()
            await _close_streams(state)
            await runner.cleanup()
            living.cancel()
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _listening(runner: web.AppRunner, settings: Settings) -> AsyncIterator[asyncio.Server]:
    """Accepts connections until closed. aiohttp's sites do not support a connection class."""
    server = await asyncio.get_running_loop().create_server(
        partial(_connection, runner, settings), settings.host, settings.port
    )
    try:
        yield server
    finally:
        server.close()


def _connection(runner: web.AppRunner, settings: Settings) -> HttpConnection:
    if runner.server is None:
        raise BugError("a connection came before the runner was set up")
    return HttpConnection(
        runner.server,
        asyncio.get_running_loop(),
        receive_timeout_s=settings.http_receive_timeout_s,
        keep_alive_s=settings.http_keep_alive_s,
    )


async def _close_streams(state: ApiState) -> None:
    if state.context is not None:
        state.context.fanout.close()
        state.context.claims.close()


async def _live(role: RoleContext, state: ApiState) -> None:
    """Opens the servers, with retries, and keeps them open until cancelled."""
    async with AsyncExitStack() as stack:

        async def opened() -> ApiContext:
            try:
                return await _open(role, stack)
            except TransientError as error:
                state.waiting_for = str(error)
                await stack.aclose()
                raise

        state.context = await retry_transient(opened, role.stop, operation="api")
        role.health.started()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(state.context.fanout.run())
                tasks.create_task(state.context.claims.run())
                tasks.create_task(_pruned_keys(role, state.context))
        finally:
            state.context = None


async def _pruned_keys(role: RoleContext, context: ApiContext) -> None:
    kept = timedelta(seconds=role.settings.idempotency_key_retention_s)
    await keep_pruning(context.pool, kept, role.metrics.pruned.labels("idempotency_keys").inc)


async def _open(role: RoleContext, stack: AsyncExitStack) -> ApiContext:
    settings = role.settings
    pool = await stack.enter_async_context(opened_pool(settings, waits=REQUEST_WAITS))
    await ensure_topic(settings)
    log = await stack.enter_async_context(EventLog(settings, role.metrics, append_s=APPEND_WITHIN_S))
    store = await stack.enter_async_context(open_object_store(settings))
    redis = await stack.enter_async_context(opened_redis(settings))
    providers = await stack.enter_async_context(opened_providers(settings, redis, store, role.metrics))
    flags = await stack.enter_async_context(open_flags(settings, providers))
    subscriber = await stack.enter_async_context(NotificationSubscriber(settings))
    leases = JobLeases(redis)
    return ApiContext(
        settings=settings,
        pool=pool,
        log=log,
        store=store,
        fanout=NotificationFanout(subscriber),
        notifications=NotificationPublisher(redis),
        providers=providers,
        flags=flags,
        queue_snapshots=QueueSnapshotCache(pool),
        keys=KeyCache(pool),
        leases=leases,
        claims=JobClaims(settings, leases),
        rejections=Rejections(log, leases, ProducerStreams(redis)),
        redis=RedisHealth(redis),
        standstill=StandstillDetector(),
        log_ends=LogEndsCache(log_ends(settings), settings.events_partitions),
        pending=PendingAppends(log),
        waits=WaitLimit(),
    )
