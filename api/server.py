"""The API's process: listens at once, serves once every server has answered, and lets requests finish before it
ends."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from argon2 import Parameters

from api.app import make_app
from api.connections.http_connection import HttpConnection
from api.connections.open_connections import OpenConnections
from api.context import ApiContext, ApiState
from api.http.response_headers import common_headers
from api.limits.admission_queue import AdmissionQueue
from api.limits.stream_limit import StreamLimit
from api.limits.wait_limit import WaitLimit
from api.log_ends import LogEndsCache
from api.notification_fanout import NotificationFanout
from api.pending_appends import PendingAppends
from api.standstill import StandstillDetector
from gengui_stream.accounts.keys.authenticator import KeyAuthenticator
from gengui_stream.accounts.passwords import PROFILE, PasswordHashes
from gengui_stream.accounts.preferences import PreferencesCache
from gengui_stream.errors import BugError, ConfigurationError, TransientError
from gengui_stream.limits.policies import policies_of
from gengui_stream.limits.rate_limiter import MemoryRateLimits, RateLimiter
from gengui_stream.limits.token_leases import LeasedCounts
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.postgres.pool import REQUEST_WAITS, Pool, opened_pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.providers.flags.provider_flags import Flags, open_flags
from gengui_stream.providers.interface import Providers
from gengui_stream.providers.local.claims import JobClaims
from gengui_stream.providers.local.leases import JobLeases
from gengui_stream.providers.local.rejected_entries import Rejections
from gengui_stream.providers.local.uploads import Uploads, keep_sweeping
from gengui_stream.providers.registry import opened_providers
from gengui_stream.queries.queue_position import QueueSnapshotCache
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.notifications import NotificationPublisher, NotificationSubscriber
from gengui_stream.redis_io.rate_limits import RedisRateLimits, opened_rate_limits
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings

APPEND_WITHIN_S: Final = 8.0
"""A request whose event the brokers have not confirmed by then is answered with 503, and repeated with its key."""

DRAIN_S: Final = 1.0
"""A client may be sending on a kept connection in the moment in which it is closed, and cannot tell whether its request
was received. A connection in use carries a request within this time, and the response announces its end."""

_log = structlog.get_logger(__name__)


async def run_api(role: RoleContext) -> None:
    async with served_api(role, drain_s=min(DRAIN_S, role.settings.shutdown_grace_s / 2)) as port:
        _log.info("listening", host=role.settings.host, port=port)
        await role.stop.wait()


@asynccontextmanager
async def served_api(role: RoleContext, profile: Parameters = PROFILE, *, drain_s: float = 0.0) -> AsyncIterator[int]:
    """Serves on HOST:PORT while the block runs; yields the port. Requests get SHUTDOWN_GRACE_S to finish at the end.
    `profile`: of the hashes of passwords; tests have a cheap one. `drain_s`: the part of that time in which kept
    connections may carry one more request."""
    settings, state, connections = role.settings, ApiState(role.health, role.metrics), OpenConnections()
    runner = web.AppRunner(
        make_app(state, settings),
        access_log=None,
        shutdown_timeout=settings.shutdown_grace_s - drain_s,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        async with _listening(runner, settings, connections) as server, asyncio.TaskGroup() as tasks:
            living = tasks.create_task(_live(role, state, profile))
            yield int(server.sockets[0].getsockname()[1])
            server.close()
            state.ending = True
            await _close_streams(state)
            with suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await connections.none.wait()
            await runner.cleanup()
            living.cancel()
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _listening(
    runner: web.AppRunner, settings: Settings, connections: OpenConnections
) -> AsyncIterator[asyncio.Server]:
    """Accepts connections until closed. aiohttp's sites do not support a connection class."""
    connection = partial(_connection, runner, settings, connections)
    try:
        server = await asyncio.get_running_loop().create_server(connection, settings.host, settings.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        fault = f"HOST, PORT: cannot listen on {settings.host}:{settings.port}: {reason}"
        raise ConfigurationError([fault]) from error
    try:
        yield server
    finally:
        server.close()


def _connection(runner: web.AppRunner, settings: Settings, connections: OpenConnections) -> HttpConnection:
    if runner.server is None:
        raise BugError("a connection came before the runner was set up")
    return HttpConnection(
        runner.server,
        asyncio.get_running_loop(),
        receive_timeout_s=settings.http_receive_timeout_s,
        send_timeout_s=settings.http_send_timeout_s,
        keep_alive_s=settings.http_keep_alive_s,
        headers=common_headers(settings.public_url),
        connections=connections,
    )


async def _close_streams(state: ApiState) -> None:
    if state.context is not None:
        state.context.fanout.close()
        state.context.claims.close()


async def _live(role: RoleContext, state: ApiState, profile: Parameters) -> None:
    """Opens the servers, with retries, and keeps them open until cancelled."""
    async with AsyncExitStack() as stack:

        async def opened() -> ApiContext:
            try:
                return _context(role, await _open(role, stack, profile))
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
                tasks.create_task(state.context.keys.usage.keep_writing())
                tasks.create_task(_swept_uploads(role, state.context))
        finally:
            state.context = None


async def _swept_uploads(role: RoleContext, context: ApiContext) -> None:
    await keep_sweeping(context.uploads, context.pool, context.store, role.metrics.pruned.labels("uploads").inc)


@dataclass(frozen=True, slots=True)
class _Servers:
    """What is open as long as the API serves. `redis`: the shared client."""

    pool: Pool
    log: EventLog
    store: ObjectStore
    redis: SharedRedis
    providers: Providers
    flags: Flags
    passwords: PasswordHashes
    subscriber: NotificationSubscriber
    counts: RedisRateLimits


async def _open(role: RoleContext, stack: AsyncExitStack, profile: Parameters) -> _Servers:
    settings = role.settings
    pool = await stack.enter_async_context(opened_pool(settings, waits=REQUEST_WAITS))
    await ensure_topic(settings)
    log = await stack.enter_async_context(EventLog(settings, role.metrics, append_s=APPEND_WITHIN_S))
    store = await stack.enter_async_context(open_object_store(settings))
    redis = await stack.enter_async_context(opened_redis(settings))
    providers = await stack.enter_async_context(opened_providers(settings, redis, store, role.metrics))
    flags = await stack.enter_async_context(open_flags(settings, providers))
    passwords = await stack.enter_async_context(PasswordHashes(settings.password_hashes_at_once, profile))
    subscriber = await stack.enter_async_context(NotificationSubscriber(settings))
    counts = await stack.enter_async_context(opened_rate_limits(settings))
    return _Servers(pool, log, store, redis, providers, flags, passwords, subscriber, counts)


def _context(role: RoleContext, servers: _Servers) -> ApiContext:
    """Makes no request to a server."""
    settings, pool, log, redis = role.settings, servers.pool, servers.log, servers.redis
    leases = JobLeases(redis)
    return ApiContext(
        settings=settings,
        pool=pool,
        preferences=PreferencesCache(pool),
        log=log,
        store=servers.store,
        fanout=NotificationFanout(servers.subscriber),
        notifications=NotificationPublisher(redis),
        providers=servers.providers,
        flags=servers.flags,
        queue_snapshots=QueueSnapshotCache(pool),
        keys=KeyAuthenticator(pool),
        passwords=servers.passwords,
        leases=leases,
        claims=JobClaims(settings, leases),
        rejections=Rejections(log, leases, ProducerStreams(redis)),
        uploads=Uploads(redis),
        redis=RedisHealth(redis),
        standstill=StandstillDetector(),
        log_ends=LogEndsCache(log_ends(settings), settings.events_partitions),
        pending=PendingAppends(log),
        waits=WaitLimit(),
        streams=StreamLimit(),
        metrics=role.metrics,
        limiter=RateLimiter(LeasedCounts(servers.counts), MemoryRateLimits(), role.metrics),
        admissions=AdmissionQueue(),
        policies=policies_of(settings),
    )
