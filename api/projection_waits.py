"""Waits for the projections, so that clients read their own writes: until they have a position of the log, or a
generation whose id is so young that its request may still be on its way. A wait holds no connection to PostgreSQL: it
reads when a notification arrives, and a few times without one."""

import time
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from aiohttp import web

from api.context import ApiContext
from api.http.parsing import WAITED, min_position
from api.http.problems import Refusal, not_found
from gengui_stream.domain.identifiers import unix_ms_of
from gengui_stream.log.partitions import partition_of
from gengui_stream.log.positions import Position, format_vector
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import dead_letters
from gengui_stream.queries import generations
from gengui_stream.queries.generations import OwnedGeneration

POSITION_WAIT_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.25
CLOCK_SKEW_S: Final = 5.0
"""Between the clocks of the processes that make ids and of this one."""

LOG_ENDS_MAX_AGE_S: Final = 1.0
"""Less than the age of an id that is looked up by it: CLOCK_SKEW_S and POSITION_WAIT_S."""


async def reach(request: web.Request, context: ApiContext, owner_id: UUID) -> None:
    """Waits up to POSITION_WAIT_S for the projections to reach `Min-Position`. Raises a 504 refusal after that, and a
    422 refusal at once for a position that the log does not have."""
    position = min_position(request, context.settings.events_partitions)
    if position is None or await reached(context, owner_id, position, POLL_INTERVAL_S):
        return
    request[WAITED] = True
    await refuse_beyond_log(context, {position.partition: position.offset}, "Min-Position")
    if not await reached(context, owner_id, position):
        raise projection_behind(f"the projections have not reached {position} yet; try again")


async def refuse_beyond_log(context: ApiContext, offsets: Mapping[int, int], name: str) -> None:
    """Raises a 422 refusal when the log has no record at one of these offsets yet. `offsets`: by partition. `name`:
    of the header or the parameter that has them."""
    ends = await context.log_ends.current()
    beyond = {p: offset for p, offset in offsets.items() if ends is not None and offset >= ends.get(p, 0)}
    if ends is None or not beyond:
        return
    last = format_vector({partition: ends.get(partition, 0) - 1 for partition in beyond})
    detail = (
        f"{name}: {format_vector(beyond)} is beyond the end of the log, whose last positions are {last}; send a"
        " position that this service returned, or none"
    )
    raise Refusal(422, "position_beyond_log", detail)


async def reached(context: ApiContext, owner_id: UUID, position: Position, within_s: float | None = None) -> bool:
    """Whether the projections have the position, after a wait of at most `within_s`, or POSITION_WAIT_S."""
    deadline = time.monotonic() + (POSITION_WAIT_S if within_s is None else within_s)
    with context.waits.admitted(owner_id) as admitted, context.fanout.subscribed(owner_id) as subscription:
        while not await checkpoints.has_reached(context.pool, context.settings.events_topic, position):
            left = deadline - time.monotonic()
            if left <= 0 or not admitted or context.fanout.closing.is_set():
                return False
            await subscription.wait(min(left, POLL_INTERVAL_S))
    return True


async def own(request: web.Request, context: ApiContext, generation_id: UUID, owner_id: UUID) -> OwnedGeneration:
    """The generation, after a wait for it while its id is young. Raises a 404 refusal when there is none, it is
    deleted, or it belongs to another owner; a 504 refusal when the projections may not have it yet."""
    found = await generations.find_also_deleted(context.pool, generation_id, owner_id)
    if found is None and _is_young(generation_id):
        request[WAITED] = True
        found = await _awaited(context, generation_id, owner_id)
    elif found is None and await _is_unprojected(context, generation_id):
        raise _not_yet()
    if found is None or found.state.deleted_at is not None:
        raise not_found()
    return found


async def _awaited(context: ApiContext, generation_id: UUID, owner_id: UUID) -> OwnedGeneration:
    deadline = time.monotonic() + POSITION_WAIT_S
    with (
        context.waits.admitted(owner_id) as admitted,
        context.fanout.subscribed(owner_id, generation_id) as subscription,
    ):
        while (found := await generations.find_also_deleted(context.pool, generation_id, owner_id)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not admitted or context.fanout.closing.is_set():
                raise _not_yet()
            await subscription.wait(left)
    return found


def _is_young(generation_id: UUID) -> bool:
    made_ms = unix_ms_of(generation_id)
    if made_ms is None:
        return False
    return -CLOCK_SKEW_S <= time.time() - made_ms / 1000 <= POSITION_WAIT_S + CLOCK_SKEW_S


async def _is_unprojected(context: ApiContext, generation_id: UUID) -> bool:
    """Whether the partition of an older id has records that are not projected, one of which may request it; or its
    request is a dead letter, until an operator retries or discards it."""
    made_ms = unix_ms_of(generation_id)
    if made_ms is None or made_ms / 1000 > time.time():
        return False
    ends, topic = await context.log_ends.current(LOG_ENDS_MAX_AGE_S), context.settings.events_topic
    partition = partition_of(str(generation_id).encode(), context.settings.events_partitions)
    projected = await checkpoints.projected(context.pool, topic)
    if ends is not None and projected.get(partition, 0) < ends.get(partition, 0):
        return True
    return await dead_letters.hides(context.pool, topic, partition, generation_id)


def _not_yet() -> Refusal:
    return projection_behind("the projections may not have this generation yet; try again")


def projection_behind(detail: str) -> Refusal:
    return Refusal(504, "projection_behind", detail, headers={"Retry-After": "1"})
