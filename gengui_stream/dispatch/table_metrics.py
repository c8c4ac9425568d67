"""The metrics of `dispatch` that are read from PostgreSQL and not counted as things happen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.cost_metrics import CostCollector, all_costs
from gengui_stream.dispatch.queue_metrics import QueueCollector
from gengui_stream.dispatch.table_collector import keep_measuring
from gengui_stream.domain.prices import PriceList
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.background import background_task
from gengui_stream.queries.queue_depth import depths


@asynccontextmanager
async def measured_tables(
    pool: Pool, prices: PriceList, registry: CollectorRegistry, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Measures the queue and the costs, and exports them, until the context ends."""
    queue, costs = QueueCollector(), CostCollector()
    async with AsyncExitStack() as stack:
        for collector in (queue, costs):
            registry.register(collector)
            stack.callback(registry.unregister, collector)
        await stack.enter_async_context(background_task(lambda _: keep_measuring(queue, partial(depths, pool), stop)))
        await stack.enter_async_context(
            background_task(lambda _: keep_measuring(costs, partial(all_costs, pool, prices), stop))
        )
        yield
