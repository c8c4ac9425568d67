"""The parameters of each request: one wide row a generation, written once."""

from collections.abc import Iterable
from typing import Final, TypeAlias

from gengui_stream.postgres.bulk import Write
from gengui_stream.projections.outcomes import Applied, Outcome
from schemas.events import GenerationRequested

Row: TypeAlias = tuple[object, ...]

COLUMNS: Final = (
    "generation_id, owner_id, prompt, seed, width, height, model, provider, max_attempts, deadline, retried_from, "
    "correlation_id, traceparent, requested_at, provider_pinned"
)

# No ON CONFLICT: a generation is requested once, so a second row is a fault of the fold and must raise an error.
INSERT: Final = """
INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model, provider,
    max_attempts, deadline, retried_from, correlation_id, traceparent, requested_at, provider_pinned)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[],
    $9::int[], $10::timestamptz[], $11::uuid[], $12::text[], $13::text[], $14::timestamptz[], $15::bool[])
"""


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    return [
        _row(outcome.event)
        for outcome in outcomes
        if isinstance(outcome, Applied) and outcome.event.type == "generation.requested"
    ]


def _row(event: GenerationRequested) -> Row:
    return (
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


def write(rows: list[Row]) -> Write:
    return Write(INSERT, rows)
