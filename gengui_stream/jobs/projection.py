"""What job handlers read of the projection: the attempts of their jobs, and whether an appended event has changed its
generation.

The log orders what happens to a generation: of two announcements of one attempt, or of a cancellation and an
announcement, the first one counts. The projection of an event therefore tells its producer whether it may act on it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

import asyncpg
import structlog

from gengui_stream.jobs.attempts import Attempt
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.process.lifecycle import ShutdownRequested, pause, retry_transient
from gengui_stream.projections import generation_states
from gengui_stream.providers.interface import DispatchRequest
from schemas.events import Event

FIRST_LOOK_S: Final = 0.004
LONGEST_LOOK_S: Final = 0.25
SLOW_S: Final = 5.0

# An append that was repeated has the event twice on the log: applied by its first record, ignored at its second.
LOOK: Final = """
SELECT place.key, EXISTS (
    SELECT FROM projections.timeline first
    WHERE first.generation_id = place.generation_id AND first.event_id = place.event_id AND first.ignored IS NULL
) AS applied
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::smallint[], $5::bigint[])
    AS place (key, generation_id, event_id, partition, log_offset)
LEFT JOIN projections.timeline t USING (generation_id, partition, log_offset)
LEFT JOIN projections.dead_letters d USING (partition, log_offset)
WHERE t.type IS NOT NULL OR d.reason IS NOT NULL
"""

_REQUESTS: Final = """
SELECT generation_id, owner_id, prompt, seed, width, height, model, deadline, correlation_id, traceparent
FROM projections.generation_requests WHERE generation_id = ANY($1::uuid[])
"""

_log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """Where the event is on the log. `key`: the caller's name for it."""

    key: str
    event: Event
    position: Position


class Projection(Protocol):
    """The read models, as far as job handlers need them."""

    async def load(self, jobs: Sequence[ClaimedJob]) -> list[Attempt]:
        """In the order of the jobs, without those whose generation does not exist (any more). Raises TransientError
        while the read models are unavailable."""
        ...

    async def applied(self, places: Sequence[Place], stop: asyncio.Event) -> set[str]:
        """The keys of the events that changed their generation. Returns once all of them are projected; an event of a
        generation that is parked behind a dead letter has changed nothing. Raises ShutdownRequested at a stop."""
        ...


class PostgresProjection:
    """The read models in PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, jobs: Sequence[ClaimedJob]) -> list[Attempt]:
        ids = {job.generation_id for job in jobs}
        with transient_errors():
            states = await generation_states.load(self._pool, ids)
            requests = {row["generation_id"]: row for row in await self._pool.fetch(_REQUESTS, list(ids))}
        return [
            Attempt(job, states[job.generation_id], _request(requests[job.generation_id], job.attempt))
            for job in jobs
            if job.generation_id in states
        ]

    async def applied(self, places: Sequence[Place], stop: asyncio.Event) -> set[str]:
        found: set[str] = set()
        waiting = {place.key: place for place in places}
        look_s, waited_s = FIRST_LOOK_S, 0.0
        while waiting:
            if await pause(stop, look_s):
                raise ShutdownRequested("projection")
            look = partial(_look, self._pool, list(waiting.values()))
            looked = await retry_transient(look, stop, operation="projection")
            found.update(key for key, is_applied in looked if is_applied)
            for key, _ in looked:
                del waiting[key]
            waited_s += look_s
            look_s = min(look_s * 1.5, LONGEST_LOOK_S)
            if waiting and waited_s > SLOW_S:
                waited_s = 0.0
                _log.warning("projection_slow", events=len(waiting))
        return found


def _request(row: asyncpg.Record, attempt: int) -> DispatchRequest:
    return DispatchRequest(
        generation_id=row["generation_id"],
        owner_id=row["owner_id"],
        attempt=attempt,
        prompt=row["prompt"],
        seed=row["seed"],
        width=row["width"],
        height=row["height"],
        model=row["model"],
        deadline=row["deadline"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
    )


async def _look(pool: Pool, places: Sequence[Place]) -> list[tuple[str, bool]]:
    columns = zip(
        *(
            (place.key, place.event.generation_id, place.event.id, place.position.partition, place.position.offset)
            for place in places
        ),
        strict=True,
    )
    with transient_errors():
        rows = await pool.fetch(LOOK, *map(list, columns))
    return [(row["key"], row["applied"]) for row in rows]
