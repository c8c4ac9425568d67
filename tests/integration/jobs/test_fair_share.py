"""One user's thousand queued generations do not delay another's first. The bound is a number of generations, counted
when the other's first has become a job: until then a worker takes nothing, and then all without a pause."""

import time
from typing import Final
from uuid import UUID

from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.partition_queues import AT_ONCE
from gengui_stream.providers.local.provider import QUEUE_AHEAD
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.settings import Settings
from tests.integration.jobs.conftest import Scene, scene
from tests.integration.running import a_request, eventually

QUEUED: Final = 1_000

SAME_TAG_MAX: Final = AT_ONCE
"""Jobs of one user with the start tag that the other's first gets: transactions of a projector that are in progress at
the same time do not see each other's."""

AHEAD_MAX: Final = 10 * QUEUE_AHEAD
"""At the provider while nothing is taken from it: QUEUE_AHEAD, and as many again each time that it does not say how
many wait there."""

WAITING: Final = """
SELECT count(*) FROM jobs.jobs
WHERE kind = 'dispatch' AND owner_id = $1 AND (leased_until IS NULL OR leased_until <= now())
"""
IS_PROJECTED: Final = "SELECT EXISTS (SELECT FROM projections.generation_states WHERE generation_id = $1)"


async def test_another_s_first_does_not_wait_for_a_thousand(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    greedy, other = new_id(), new_id()
    async with scene(settings, pool, event_log) as stage:
        await event_log.append_many([a_request(owner_id=greedy) for _ in range(QUEUED)])
        await eventually(lambda: is_queued(stage, greedy))
        first = await stage.request(owner_id=other)
        await eventually(lambda: pool.fetchval(IS_PROJECTED, first.generation_id))
        ahead = QUEUED - int(await pool.fetchval(WAITING, greedy))
        worker, began, behind = stage.taken(QUEUED), time.monotonic(), 0
        while (await anext(worker)).fields["userId"] != str(other):
            behind += 1
        print(f"the other's first was taken after {behind} of {QUEUED}, {time.monotonic() - began:.3f} s")
    assert ahead <= AHEAD_MAX
    assert behind <= ahead + SAME_TAG_MAX


async def is_queued(stage: Scene, owner_id: UUID) -> bool:
    """What is not at the provider waits as jobs. Partitions go live one after the other: until the last one has made
    its jobs, the first ones of the others may be at the provider already."""
    waiting, dispatched = await stage.pool.fetchval(WAITING, owner_id), await stage.redis.xlen(QUEUE_STREAM)
    return int(waiting) + int(dispatched) == QUEUED and int(dispatched) >= QUEUE_AHEAD
