"""Generations as their owner sees them: one, or a page of them by keyset. Deleted ones are left out."""

from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.projections.generation_requests import RequestRow
from gengui_stream.queries.prompt_search import pattern_of

FIND: Final = """
SELECT s.*, r.owner_id, r.prompt, r.seed, r.width, r.height, r.model, r.provider AS requested_provider, r.max_attempts,
    r.deadline, r.retried_from, r.correlation_id, r.traceparent, r.requested_at, r.provider_pinned
FROM projections.generation_requests r JOIN projections.generation_states s USING (generation_id)
WHERE r.generation_id = $1 AND r.owner_id = $2
"""

PAGE: Final = """
SELECT s.*, r.owner_id, r.prompt, r.seed, r.width, r.height, r.model, r.provider AS requested_provider, r.max_attempts,
    r.deadline, r.retried_from, r.correlation_id, r.traceparent, r.requested_at, r.provider_pinned
FROM projections.generation_requests r JOIN projections.generation_states s USING (generation_id)
WHERE r.owner_id = $1 AND s.deleted_at IS NULL
  AND ($2::timestamptz IS NULL OR (r.requested_at, r.generation_id) < ($2, $3::uuid))
  AND ($4::text[] IS NULL OR s.status = ANY($4))
  AND ($5::text IS NULL OR s.provider = $5)
  AND ($6::text IS NULL OR r.prompt ~ $6)
  AND ($7::timestamptz IS NULL OR r.requested_at >= $7)
  AND ($8::timestamptz IS NULL OR r.requested_at < $8)
ORDER BY r.requested_at DESC, r.generation_id DESC LIMIT $9
"""

_of_request: Final = itemgetter(
    *("requested_provider" if field == "provider" else field for field in RequestRow._fields)
)


@dataclass(frozen=True, slots=True)
class OwnedGeneration:
    """The request, the state that followed from it, and the position of the last event applied. `pruned_before`: events
    of the timeline that were appended before were removed; None: none were."""

    request: RequestRow
    state: Generation
    position: Position
    pruned_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """None: no condition. `text`: a substring of the prompt, ignoring case. `created_after` is inclusive,
    `created_before` exclusive."""

    statuses: tuple[str, ...] | None = None
    provider: str | None = None
    text: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def find(pool: Pool, generation_id: UUID, owner_id: UUID) -> OwnedGeneration | None:
    """None when there is none, it is deleted, or it belongs to another owner."""
    found = await find_also_deleted(pool, generation_id, owner_id)
    return None if found is None or found.state.deleted_at is not None else found


async def find_also_deleted(pool: Pool, generation_id: UUID, owner_id: UUID) -> OwnedGeneration | None:
    """None when the projections have none of this owner."""
    with transient_errors():
        row = await pool.fetchrow(FIND, generation_id, owner_id)
    return None if row is None else _owned(row)


async def page(
    pool: Pool, owner_id: UUID, filters: Filters, after: tuple[datetime, UUID] | None, limit: int
) -> list[OwnedGeneration]:
    """At most `limit` generations, newest first, after the position `after`."""
    moment, generation_id = after or (None, None)
    pattern = pattern_of(filters.text) if filters.text is not None else None
    statuses = list(filters.statuses) if filters.statuses is not None else None
    chosen = (statuses, filters.provider, pattern, filters.created_after, filters.created_before)
    with transient_errors():
        rows = await pool.fetch(PAGE, owner_id, moment, generation_id, *chosen, limit)
    return [_owned(row) for row in rows]


def _owned(row: asyncpg.Record) -> OwnedGeneration:
    request = RequestRow._make(_of_request(row))
    position = Position(row["partition"], row["log_offset"])
    return OwnedGeneration(request, generation_states.state_of(row), position, row["timeline_pruned_before"])
