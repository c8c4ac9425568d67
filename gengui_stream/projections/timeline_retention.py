"""Removes the old timeline of generations that have ended, in small steps.

Only of settled generations: the projection reads the timeline of those that have no state yet (the events that came
before the request), and the state itself recognises events that are appended again. What was removed stays known as
`timeline_pruned_before` of the generation's state.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, transient_errors

GENERATIONS: Final = 500
"""Examined by one statement."""

STEP_EVERY_S: Final = 0.1
PASS_EVERY_S: Final = 3_600.0
LOOK_EVERY_S: Final = 2.0
"""How soon a partition counts that has become live: none is when the process starts."""

# The projector locks several states in any order: a state that it has locked is left to the next pass.
PRUNE: Final = """
WITH page AS (
    SELECT generation_id FROM projections.generation_states
    WHERE generation_id > $1 AND partition = ANY($2) ORDER BY generation_id LIMIT $4),
due AS (
    SELECT s.generation_id FROM projections.generation_states s JOIN page USING (generation_id)
    WHERE s.settled AND s.ended_at < now() - $3::interval AND EXISTS (
        SELECT FROM projections.timeline t
        WHERE t.generation_id = s.generation_id AND t.appended_at < now() - $3::interval)
    FOR UPDATE OF s SKIP LOCKED),
removed AS (
    DELETE FROM projections.timeline t USING due
    WHERE t.generation_id = due.generation_id AND t.appended_at < now() - $3::interval RETURNING 1),
marked AS (
    UPDATE projections.generation_states s SET timeline_pruned_before = now() - $3::interval
    FROM due WHERE s.generation_id = due.generation_id)
SELECT (SELECT generation_id FROM page ORDER BY generation_id DESC LIMIT 1) AS last,
    (SELECT count(*) FROM removed) AS rows
"""

PRUNED: Final = """
SELECT generation_id, timeline_pruned_before FROM projections.generation_states
WHERE generation_id = ANY($1) AND timeline_pruned_before IS NOT NULL
"""

_log = structlog.get_logger(__name__)


class Step(NamedTuple):
    """`last`: the last generation examined; None: there was none. `rows`: removed."""

    last: UUID | None
    rows: int


async def prune(pool: Pool, after: UUID, partitions: Collection[int], kept: timedelta) -> Step:
    """Removes the rows older than `kept` of generations of these partitions that ended before that, among the next ones
    after `after`."""
    with transient_errors():
        [row] = await pool.fetch(PRUNE, after, list(partitions), kept, GENERATIONS)
    return Step(row["last"], row["rows"])


async def pruned_before(pool: Pool, generation_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Of those whose timeline is cut: the moment before which events were removed."""
    with transient_errors():
        return {row["generation_id"]: row["timeline_pruned_before"] for row in await pool.fetch(PRUNED, generation_ids)}


async def keep_pruning(
    pool: Pool, kept: timedelta, partitions: Callable[[], Collection[int]], pruned: Callable[[int], None]
) -> None:
    """Goes through the generations of `partitions` again and again, without end: at intervals, and soon after this
    process got another partition. Calls `pruned` with the number of rows of each step."""
    while True:
        passed = frozenset(partitions())
        await _pass(pool, kept, partitions, pruned)
        look_s = min(LOOK_EVERY_S, PASS_EVERY_S)
        for _ in range(round(PASS_EVERY_S / look_s)):
            await asyncio.sleep(look_s)
            if not passed.issuperset(partitions()):
                break


async def _pass(
    pool: Pool, kept: timedelta, partitions: Callable[[], Collection[int]], pruned: Callable[[int], None]
) -> None:
    after: UUID | None = UUID(int=0)
    while after is not None and (held := partitions()):
        try:
            step = await prune(pool, after, held, kept)
        except TransientError as error:
            _log.warning("timeline_not_pruned", error=str(error))
            await asyncio.sleep(PASS_EVERY_S / 60)
        else:
            pruned(step.rows)
            after = step.last
            await asyncio.sleep(STEP_EVERY_S)
