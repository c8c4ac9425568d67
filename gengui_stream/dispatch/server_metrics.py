"""The metrics of `dispatch` that are asked of PostgreSQL and Kafka and not counted as things happen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry

from gengui_stream.dispatch.cost_metrics import CostCollector, all_costs
from gengui_stream.dispatch.queue_metrics import QueueCollector
from gengui_stream.dispatch.replica_metrics import ReplicaCollector
from gengui_stream.dispatch.server_collector import ServerCollector, keep_measuring
from gengui_stream.log.inspection import replica_brokers
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.background import background_task
from gengui_stream.queries.queue_depth import depths
from gengui_stream.settings import Settings

T = TypeVar("T")


@asynccontextmanager
async def measured_servers(
    settings: Settings, pool: Pool, registry: CollectorRegistry, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Measures the queue, the costs and the replicas of the log, and exports them, until the context ends."""
    async with (
        _measured(QueueCollector(), partial(depths, pool), registry, stop),
        _measured(CostCollector(), partial(all_costs, pool, settings.price_list), registry, stop),
        _measured(ReplicaCollector(), partial(replica_brokers, settings), registry, stop),
    ):
        yield


@asynccontextmanager
async def _measured(
    collector: ServerCollector[T],
    measure: Callable[[], Awaitable[Sequence[T]]],
    registry: CollectorRegistry,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    registry.register(collector)
    try:
        async with background_task(lambda _: keep_measuring(collector, measure, stop)):
            yield
    finally:
        registry.unregister(collector)
