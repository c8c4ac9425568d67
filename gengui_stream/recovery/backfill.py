"""Requests the missing thumbnails of completed generations, or all of them again, by events from which the fold creates
jobs.

A request names the revision after the last one, so that two concurrent backfills request each thumbnail once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.jobs import thumbnail_key
from gengui_stream.domain.generation.state import Generation, StoredOutput
from gengui_stream.identifiers import process_name
from gengui_stream.log.event_log import Appender
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.stamps import repeatable_stamp
from schemas.events import ThumbnailRequested

PAGE_MAX: Final = 500
PAGES_A_SECOND: Final = 4
"""One page every quarter of a second: an even flow of requests in few appends."""

FIRST: Final = UUID(int=0)

COUNT: Final = """
SELECT count(*) FROM projections.generation_states
WHERE status = 'completed' AND deleted_at IS NULL AND generation_id > $1
  AND ($2 OR outputs::jsonb @? '$[*] ? (@.thumbnail == null)')
"""

NEXT: Final = """
SELECT generation_id FROM projections.generation_states
WHERE status = 'completed' AND deleted_at IS NULL AND generation_id > $1
  AND ($2 OR outputs::jsonb @? '$[*] ? (@.thumbnail == null)')
ORDER BY generation_id LIMIT $3
"""

OPEN_KEYS: Final = "SELECT job_key FROM jobs.jobs WHERE job_key = ANY($1)"

_EVENT_IDS: Final = UUID("0d3b52f8-9c1e-5a53-8a0e-6e1f6f2f7b1d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Completed generations after the id `after`, in the order of their ids, which is the order of their requests:
    those without a thumbnail, or `everything`."""

    everything: bool = False
    after: UUID = FIRST


@dataclass(slots=True)
class Backfill:
    """The progress of a backfill. `pending`: outputs that have an open thumbnail job, and were not requested again.
    `last`: the last generation handled, from which another backfill can continue."""

    generations: int = 0
    requested: int = 0
    pending: int = 0
    last: UUID | None = None


async def count_generations(pool: Pool, scope: Scope) -> int:
    """The number of generations that a backfill handles."""
    with transient_errors():
        return int(await pool.fetchval(COUNT, scope.after, scope.everything))


async def request_thumbnails(pool: Pool, log: Appender | None, scope: Scope, rate: float) -> AsyncIterator[Backfill]:
    """Requests at most `rate` thumbnails a second; yields the progress after each page, the same object each time.
    Without a log it only counts. Raises TransientError when a server is unavailable; the thumbnails requested before
    stay requested."""
    done, pause_s = Backfill(), 0.0
    async for states in _pages(pool, scope, min(PAGE_MAX, max(1, int(rate / PAGES_A_SECOND)))):
        wanted = [(state, output) for state in states for output in _outputs(state, scope)]
        open_keys = await _open_keys(pool, wanted)
        requests = [request_of(state, output) for state, output in wanted if _key(state, output) not in open_keys]
        if log is not None and requests:
            await asyncio.sleep(pause_s)
            await log.append_many(requests)
            pause_s = len(requests) / rate
        done.generations += len(states)
        done.requested += len(requests)
        done.pending += len(wanted) - len(requests)
        done.last = states[-1].generation_id
        yield done


def request_of(state: Generation, output: StoredOutput) -> ThumbnailRequested:
    """Repeatable: the event's id derives from the output and the revision."""
    fact = f"{state.generation_id}:{output.id}:{output.thumbnail_revision + 1}"
    stamp = repeatable_stamp(_EVENT_IDS, fact, process_name("backfill"))
    return decide.request_thumbnail(state, output, stamp)


async def _pages(pool: Pool, scope: Scope, size: int) -> AsyncIterator[Sequence[Generation]]:
    after = scope.after
    while True:
        with transient_errors():
            ids = [row["generation_id"] for row in await pool.fetch(NEXT, after, scope.everything, size)]
            states = await generation_states.load(pool, ids)
        if not ids:
            return
        after = ids[-1]
        yield [states[generation_id] for generation_id in ids]


def _outputs(state: Generation, scope: Scope) -> Sequence[StoredOutput]:
    return [output for output in state.outputs if scope.everything or output.thumbnail is None]


async def _open_keys(pool: Pool, wanted: Sequence[tuple[Generation, StoredOutput]]) -> set[str]:
    with transient_errors():
        rows = await pool.fetch(OPEN_KEYS, [_key(state, output) for state, output in wanted])
    return {row["job_key"] for row in rows}


def _key(state: Generation, output: StoredOutput) -> str:
    return thumbnail_key(state.generation_id, output)
