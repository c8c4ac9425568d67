"""The role `dispatch`: hands attempts to providers, cancels them, and reconciles those whose outcome is unknown."""

from contextlib import AsyncExitStack
from functools import partial

import structlog

from gengui_stream.cancel.handler import Canceler
from gengui_stream.dispatch.call_limiter import CallLimiter
from gengui_stream.dispatch.handler import Dispatcher
from gengui_stream.dispatch.server_metrics import measured_servers
from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.identifiers import owner_name
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.loop import JobHandler, run_job_loops
from gengui_stream.jobs.measured_queue import MeasuredJobQueue
from gengui_stream.jobs.projection import PostgresProjection
from gengui_stream.jobs.provider_pauses import PostgresProviderPauses
from gengui_stream.jobs.queue import JobQueue, PostgresJobQueue, expedite_reconcile
from gengui_stream.jobs.timings import default_timeouts
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.providers.registry import opened_providers
from gengui_stream.providers.routing.circuit_breaker import Circuits
from gengui_stream.providers.routing.circuit_metrics import registered_circuits
from gengui_stream.providers.routing.router import Router
from gengui_stream.reconcile.handler import Reconciler
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings

_log = structlog.get_logger(__name__)


async def run_dispatch(role: RoleContext) -> None:
    """Runs until `stop` is set, then finishes the claimed jobs. Retries while a server is unavailable."""
    async with AsyncExitStack() as stack:
        try:
            await _run(role, stack)
        except ShutdownRequested:
            _log.info("dispatch_stopped_while_waiting")


async def _run(role: RoleContext, stack: AsyncExitStack) -> None:
    settings, stop, metrics = role.settings, role.stop, role.metrics
    pool = await retry_transient(lambda: stack.enter_async_context(opened_pool(settings)), stop, operation="database")
    log = EventLog(settings, metrics)
    stack.push_async_callback(log.stop)
    await retry_transient(log.start, stop, operation="broker")
    redis = await stack.enter_async_context(opened_redis(settings))
    store = await stack.enter_async_context(open_object_store(settings))
    known = await stack.enter_async_context(opened_providers(settings, redis, store, metrics))
    circuits = Circuits()
    stack.enter_context(registered_circuits(metrics.registry, circuits))
    context = JobContext(
        log=log,
        projection=PostgresProjection(pool),
        providers=known,
        pauses=PostgresProviderPauses(pool),
        router=Router(known, settings.fallback_order, circuits),
        default_timeouts=default_timeouts(settings),
        stop=stop,
    )
    await stack.enter_async_context(background_task(lambda _: RedisHealth(redis).keep_checking(stop)))
    await stack.enter_async_context(measured_servers(settings, pool, metrics.registry, stop))
    role.health.started()
    await _loops(settings, pool, context, metrics)


async def _loops(settings: Settings, pool: Pool, context: JobContext, metrics: Metrics) -> None:
    owner = owner_name("dispatch")

    def queue(kind: JobKind) -> JobQueue:
        jobs = PostgresJobQueue(pool, kind, owner=owner, lease_seconds=settings.job_lease_s)
        return MeasuredJobQueue(jobs, kind, metrics)

    calls = CallLimiter(context.providers, metrics, context.stop)
    dispatches, cancels, reconciles = queue("dispatch"), queue("cancel"), queue("reconcile")
    dispatcher = Dispatcher(dispatches, context, calls)
    canceler = Canceler(cancels, context, grace_s=settings.cancel_grace_s)
    reconciler = Reconciler(reconciles, context, metrics)
    handlers: dict[JobKind, JobHandler] = {
        "dispatch": JobHandler(
            queue=dispatches, claim=dispatcher.claim, work=dispatcher.work, poll_s=dispatcher.poll_s
        ),
        "cancel": JobHandler(queue=cancels, claim=cancels.claim, work=canceler.work),
        "reconcile": JobHandler(queue=reconciles, claim=reconciles.claim, work=reconciler.work),
    }
    _log.info("dispatch_started", owner=owner, providers=sorted(context.providers))
    await run_job_loops(settings, handlers, context.stop, partial(expedite_reconcile, pool))
