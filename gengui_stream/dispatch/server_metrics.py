"""The metrics of `dispatch` that are asked of PostgreSQL and Kafka and not counted as things happen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.cost_metrics import CostCollector, all_costs
from gengui_stream.dispatch.queue_metrics import QueueCollector
from gengui_stream.dispatch.replica_metrics import ReplicaCollector
from gengui_stream.dispatch.server_collector import keep_measuring
from gengui_stream.log.inspection import replica_brokers
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.background import background_task
from gengui_stream.queries.queue_depth import depths
from gengui_stream.settings import Settings


@asynccontextmanager
async def measured_servers(
    settings: Settings, pool: Pool, registry: CollectorRegistry, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Measures the queue, the costs and the replicas of the log, and exports them, until the context ends."""
    queue, costs, replicas = QueueCollector(), CostCollector(), ReplicaCollector()
    async with AsyncExitStack() as stack:
        for collector in (queue, costs, replicas):
            registry.register(collector)
            stack.callback(registry.unregister, collector)
        await stack.enter_async_context(background_task(lambda _: keep_measuring(queue, partial(depths, pool), stop)))
        await stack.enter_async_context(
            background_task(lambda _: keep_measuring(costs, partial(all_costs, pool, settings.price_list), stop))
        )
        await stack.enter_async_context(
            background_task(lambda _: keep_measuring(replicas, partial(replica_brokers, settings), stop))
        )
        yield
