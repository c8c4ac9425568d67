"""Generations as their owner sees them: one, or a page of them by keyset. Deleted ones are left out."""

from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias
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

# Each bound of the scan is a condition of the index whatever is null: `$2 IS NULL OR` would be none in a generic plan.
PAGE: Final = """
SELECT s.*, r.owner_id, r.prompt, r.seed, r.width, r.height, r.model, r.provider AS requested_provider, r.max_attempts,
    r.deadline, r.retried_from, r.correlation_id, r.traceparent, r.requested_at, r.provider_pinned
FROM projections.generation_requests r JOIN projections.generation_states s USING (generation_id)
WHERE r.owner_id = $1 AND s.deleted_at IS NULL
  AND (r.requested_at, r.generation_id) <
    (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND r.requested_at >= coalesce($4::timestamptz, '-infinity')
  AND r.requested_at < coalesce($5::timestamptz, 'infinity')
  AND (r.requested_at, r.generation_id) >=
    (coalesce($6::timestamptz, '-infinity'), coalesce($7::uuid, '00000000-0000-0000-0000-000000000000'))
  AND ($8::text[] IS NULL OR s.status = ANY($8))
  AND ($9::text IS NULL OR s.provider = $9)
  AND ($10::text IS NULL OR r.prompt ~ $10)
ORDER BY r.requested_at DESC, r.generation_id DESC LIMIT $11
"""

SCANNED_TO: Final = """
SELECT requested_at, generation_id FROM projections.generation_requests
WHERE owner_id = $1
  AND (requested_at, generation_id) <
    (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND requested_at >= coalesce($4::timestamptz, '-infinity')
  AND requested_at < coalesce($5::timestamptz, 'infinity')
ORDER BY requested_at DESC, generation_id DESC OFFSET $6 LIMIT 1
"""

SCANNED_MAX: Final = 5_000
"""Rows that one page of a filtered list reads at most: the time of a request does not grow with what its owner has."""

PageKey: TypeAlias = tuple[datetime, UUID]
"""The order of a list, newest first."""

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

    @property
    def by_content(self) -> bool:
        """Whether rows are read that are not in the result."""
        return not (self.statuses is None and self.provider is None and self.text is None)


class Page(NamedTuple):
    """`after`: the key from which the next page goes on; None on the last one. A page of a filtered list may be short
    of its limit, and even empty, before that."""

    generations: list[OwnedGeneration]
    after: PageKey | None


async def find(pool: Pool, generation_id: UUID, owner_id: UUID) -> OwnedGeneration | None:
    """None when there is none, it is deleted, or it belongs to another owner."""
    found = await find_also_deleted(pool, generation_id, owner_id)
    return None if found is None or found.state.deleted_at is not None else found


async def find_also_deleted(pool: Pool, generation_id: UUID, owner_id: UUID) -> OwnedGeneration | None:
    """None when the projections have none of this owner."""
    with transient_errors():
        row = await pool.fetchrow(FIND, generation_id, owner_id)
    return None if row is None else _owned(row)


async def page(pool: Pool, owner_id: UUID, filters: Filters, after: PageKey | None, limit: int) -> Page:
    """At most `limit` generations, newest first, after the key `after`."""
    pattern = pattern_of(filters.text) if filters.text is not None else None
    statuses = list(filters.statuses) if filters.statuses is not None else None
    scan = (owner_id, *(after or (None, None)), filters.created_after, filters.created_before)
    with transient_errors():
        end = await pool.fetchrow(SCANNED_TO, *scan, SCANNED_MAX - 1) if filters.by_content else None
        until = (None, None) if end is None else tuple(end)
        rows = await pool.fetch(PAGE, *scan, *until, statuses, filters.provider, pattern, limit + 1)
    found = [_owned(row) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(found, (found[-1].request.requested_at, found[-1].request.generation_id))
    return Page(found, None if end is None else (end["requested_at"], end["generation_id"]))


def _owned(row: asyncpg.Record) -> OwnedGeneration:
    request = RequestRow._make(_of_request(row))
    position = Position(row["partition"], row["log_offset"])
    return OwnedGeneration(request, generation_states.state_of(row), position, row["timeline_pruned_before"])
