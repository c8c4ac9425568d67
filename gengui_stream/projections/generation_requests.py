"""The parameters of each request: one wide row a generation, written once."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections.outcomes import Applied, Outcome
from schemas.events import GenerationRequested


class RequestRow(NamedTuple):
    """The columns of the table. `provider_pinned`: the client named the provider, so no other may be chosen."""

    generation_id: UUID
    owner_id: UUID
    prompt: str
    seed: int
    width: int
    height: int
    model: str
    provider: str
    max_attempts: int
    deadline: datetime | None
    retried_from: UUID | None
    correlation_id: str | None
    traceparent: str | None
    requested_at: datetime
    provider_pinned: bool


# No ON CONFLICT: a generation is requested once, so a second row is a fault of the fold and must raise an error.
INSERT: Final = """
INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model, provider,
    max_attempts, deadline, retried_from, correlation_id, traceparent, requested_at, provider_pinned)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[],
    $9::int[], $10::timestamptz[], $11::uuid[], $12::text[], $13::text[], $14::timestamptz[], $15::bool[])
"""

OWNERS: Final = "SELECT generation_id, owner_id FROM projections.generation_requests WHERE generation_id = ANY($1)"

TRACEPARENT: Final = "SELECT traceparent FROM projections.generation_requests WHERE generation_id = $1"


async def owners(pool: Pool, generation_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """By generation; those that were not requested yet are left out. Raises TransientError."""
    with transient_errors():
        rows = await pool.fetch(OWNERS, list(generation_ids))
    return {row["generation_id"]: row["owner_id"] for row in rows}


async def traceparent_of(pool: Pool, generation_id: UUID) -> str | None:
    """The trace context of its request. Raises TransientError."""
    with transient_errors():
        found: str | None = await pool.fetchval(TRACEPARENT, generation_id)
    return found


def rows_of(outcomes: Iterable[Outcome]) -> list[RequestRow]:
    return [
        row_of(outcome.event)
        for outcome in outcomes
        if isinstance(outcome, Applied) and outcome.event.type == "generation.requested"
    ]


def row_of(event: GenerationRequested) -> RequestRow:
    return RequestRow(
        event.generation_id,
        event.owner_id,
        event.prompt,
        event.seed,
        event.width,
        event.height,
        event.model,
        event.provider,
        event.max_attempts,
        event.deadline,
        event.retried_from,
        event.correlation_id,
        event.traceparent,
        event.occurred_at,
        event.provider_choice is None or event.provider_choice.source == "request",
    )


def write(rows: Sequence[RequestRow]) -> Write:
    return Write(INSERT, rows)
