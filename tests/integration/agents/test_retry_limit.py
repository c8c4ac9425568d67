"""A transaction that PostgreSQL does not commit although it answers ends the agents."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from gengui_stream.errors import BugError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.settings import Settings
from tests.events import record_of
from tests.integration.projector.interrupting import stopped_at
from tests.integration.projector.projections import TOPIC
from tests.integration.running import a_request
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


async def empty_log(partitions: Collection[int]) -> Mapping[int, int]:
    return dict.fromkeys(partitions, 0)


def ignore(batch: ProjectedBatch, seconds: float) -> None:
    """The commit of another batch."""


async def project_behind_a_lock(pool: Pool, queues: PartitionQueues) -> None:
    async with asyncio.timeout(30), stopped_at(pool, "projections.timeline"), queues.open():
        await queues.assigned([0])
        await queues.submit(RecordBatch(queues.epoch, 0, [record_of(a_request(), 0)]))
        await asyncio.Event().wait()


async def test_a_transaction_that_never_ends_is_not_repeated_forever(database: Settings, emptied: Pool) -> None:
    async with opened_pool(database, size=1) as impatient:
        await impatient.execute("SET statement_timeout = '50ms'")
        queues = PartitionQueues(
            Projector(impatient, TOPIC, TIMINGS), ignore, empty_log, 10, asyncio.Event(), retry_max_s=0.3
        )
        with pytest.raises(ExceptionGroup) as raised:
            await project_behind_a_lock(emptied, queues)
    assert raised.group_contains(BugError, match=r"project has failed for 0\.3 s while the server answered")
