"""The state of each generation: one narrow, often updated row, and its conversion back to the fold's state."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from pydantic import TypeAdapter

from gengui_stream.domain.generation.state import (
    DuplicateFilter,
    Failure,
    Generation,
    ProviderPreference,
    Status,
    StoredOutput,
    Thumbnail,
)
from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Connection, Fetcher, Pool
from gengui_stream.projections.outcomes import Applied, Ignored, Outcome

OUTPUT_FIELDS: Final = tuple(field.name for field in fields(StoredOutput))
THUMBNAIL_FIELDS: Final = tuple(field.name for field in fields(Thumbnail))
_output_values: Final = attrgetter(*OUTPUT_FIELDS)
_thumbnail_values: Final = attrgetter(*THUMBNAIL_FIELDS)

_outputs: Final = TypeAdapter(tuple[StoredOutput, ...])
_failure: Final = TypeAdapter(Failure)
_duplicates: Final = TypeAdapter(DuplicateFilter)

Row: TypeAlias = tuple[object, ...]

COLUMNS: Final = (
    "generation_id",
    "partition",
    "log_offset",
    "status",
    "version",
    "attempt",
    "provider",
    "percent",
    "stage",
    "cancel_requested",
    "dispatched_at",
    "started_at",
    "ended_at",
    "heartbeat_at",
    "deleted_at",
    "outputs",
    "error",
    "provider_model",
    "provider_job_id",
    "endpoint_id",
    "duplicates",
    "settled",
)

UPSERT: Final = """
INSERT INTO projections.generation_states AS s (generation_id, partition, log_offset, status, version, attempt,
    provider, percent,
    stage, cancel_requested, dispatched_at, started_at, ended_at, heartbeat_at, deleted_at, outputs, error,
    provider_model, provider_job_id, endpoint_id, duplicates, settled)
SELECT generation_id, partition, log_offset, status, version, attempt, provider, percent, stage, cancel_requested,
    to_timestamp(dispatched_at), to_timestamp(started_at), to_timestamp(ended_at), to_timestamp(heartbeat_at),
    to_timestamp(deleted_at), outputs, error, provider_model, provider_job_id, endpoint_id, duplicates, settled
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::text[], $5::int[], $6::int[], $7::text[],
    $8::float8[], $9::text[], $10::bool[], $11::float8[], $12::float8[], $13::float8[], $14::float8[], $15::float8[],
    $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::bool[])
    AS new (generation_id, partition, log_offset, status, version, attempt, provider, percent, stage, cancel_requested,
        dispatched_at, started_at, ended_at, heartbeat_at, deleted_at, outputs, error, provider_model, provider_job_id,
        endpoint_id, duplicates, settled)
ON CONFLICT (generation_id) DO UPDATE SET
    log_offset = EXCLUDED.log_offset, status = EXCLUDED.status, version = EXCLUDED.version,
    attempt = EXCLUDED.attempt, provider = EXCLUDED.provider, percent = EXCLUDED.percent, stage = EXCLUDED.stage,
    cancel_requested = EXCLUDED.cancel_requested, dispatched_at = EXCLUDED.dispatched_at,
    started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at, heartbeat_at = EXCLUDED.heartbeat_at,
    deleted_at = EXCLUDED.deleted_at, outputs = EXCLUDED.outputs, error = EXCLUDED.error,
    provider_model = EXCLUDED.provider_model, provider_job_id = EXCLUDED.provider_job_id,
    endpoint_id = EXCLUDED.endpoint_id, duplicates = EXCLUDED.duplicates, settled = EXCLUDED.settled
"""

INSTANTS: Final = range(10, 15)

SELECT: Final = """
SELECT s.*, r.owner_id, r.model, r.max_attempts, r.deadline, r.requested_at, r.provider AS requested_provider,
    r.provider_pinned
FROM projections.generation_states s JOIN projections.generation_requests r USING (generation_id)
WHERE s.generation_id = ANY($1::uuid[]) AND ($2::int IS NULL OR s.partition = $2)
"""


SELECT_OWN: Final = """
SELECT s.*, r.owner_id, r.model, r.max_attempts, r.deadline, r.requested_at, r.provider AS requested_provider,
    r.provider_pinned
FROM unnest($1::smallint[], $2::uuid[]) AS wanted (partition, generation_id)
JOIN projections.generation_states s USING (partition, generation_id) JOIN projections.generation_requests r USING
    (generation_id)
"""


def rows_of(outcomes: Iterable[Outcome], partition: int) -> list[Row]:
    """One row for each changed generation, with its last state."""
    latest = {state.generation_id: (state, offset) for state, offset in changes(outcomes)}
    return [row_of(state, partition, offset) for state, offset in latest.values()]


def changes(outcomes: Iterable[Outcome]) -> Iterator[tuple[Generation, int]]:
    """Every changed state, with the offset of the event that changed it."""
    for outcome in outcomes:
        if isinstance(outcome, Applied):
            yield outcome.after, outcome.record.offset
        elif isinstance(outcome, Ignored) and outcome.remembered and outcome.state is not None:
            yield outcome.state, outcome.record.offset


def row_of(state: Generation, partition: int, log_offset: int) -> Row:
    return (
        state.generation_id,
        partition,
        log_offset,
        state.status,
        state.version,
        state.attempt,
        state.provider,
        state.percent,
        state.stage,
        state.cancel_requested,
        state.dispatched_at,
        state.started_at,
        state.ended_at,
        state.heartbeat_at,
        state.deleted_at,
        document_of(state.outputs) if state.outputs else None,
        orjson.dumps(state.error).decode() if state.error else None,
        state.model,
        state.provider_job_id,
        state.endpoint_id,
        orjson.dumps(state.duplicates, default=str).decode() if state.duplicates else None,
        state.settled,
    )


def write(rows: list[Row]) -> Write:
    return Write(UPSERT, rows, INSTANTS)


async def load(
    pool: "Pool | Connection", generation_ids: Collection[UUID], *, partition: int | None = None
) -> dict[UUID, Generation]:
    """The states of these generations, by id, without those that do not exist. With `partition`, only those of that
    partition: an event that a foreign producer put on another partition must not depend on which of the two is
    projected first."""
    rows = await pool.fetch(SELECT, list(generation_ids), partition)
    return {row["generation_id"]: state_of(row) for row in rows}


async def load_own(pool: Fetcher, wanted: Mapping[int, Collection[UUID]]) -> dict[int, dict[UUID, Generation]]:
    """The same for several partitions: for each, only the generations of its own."""
    pairs = [(partition, generation_id) for partition, ids in wanted.items() for generation_id in ids]
    found: dict[int, dict[UUID, Generation]] = {partition: {} for partition in wanted}
    for row in await pool.fetch(SELECT_OWN, *map(list, zip(*pairs, strict=True))) if pairs else ():
        found[row["partition"]][row["generation_id"]] = state_of(row)
    return found


def state_of(row: asyncpg.Record) -> Generation:
    """The state in a row of this table, joined with its row of `generation_requests`."""
    return Generation(
        generation_id=row["generation_id"],
        owner_id=row["owner_id"],
        model=row["provider_model"] or row["model"],
        provider=row["provider"],
        max_attempts=row["max_attempts"],
        deadline=row["deadline"],
        requested_at=row["requested_at"],
        preference=ProviderPreference(row["requested_provider"], row["model"], row["provider_pinned"]),
        status=Status(row["status"]),
        version=row["version"],
        attempt=row["attempt"],
        percent=row["percent"],
        stage=row["stage"],
        cancel_requested=row["cancel_requested"],
        provider_job_id=row["provider_job_id"],
        endpoint_id=row["endpoint_id"],
        dispatched_at=row["dispatched_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        heartbeat_at=row["heartbeat_at"],
        deleted_at=row["deleted_at"],
        outputs=outputs_from(row["outputs"]),
        error=failure_from(row["error"]),
        duplicates=_duplicates.validate_json(row["duplicates"]) if row["duplicates"] else None,
    )


def document_of(outputs: tuple[StoredOutput, ...]) -> str:
    """The `outputs` column. A revision of 1 is left out, so that the rows equal those written before revisions
    existed."""
    return orjson.dumps(outputs, default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()


def _plain(value: object) -> dict[str, object]:
    match value:
        case StoredOutput():
            plain, revision = dict(zip(OUTPUT_FIELDS, _output_values(value), strict=True)), "thumbnail_revision"
        case Thumbnail():
            plain, revision = dict(zip(THUMBNAIL_FIELDS, _thumbnail_values(value), strict=True)), "revision"
        case _:
            raise TypeError(f"{type(value).__name__} is not part of an output")
    if plain[revision] == 1:
        del plain[revision]
    return plain


def outputs_from(document: str | None) -> tuple[StoredOutput, ...]:
    """The reverse of `document_of`."""
    return _outputs.validate_json(document) if document else ()


def failure_from(document: str | None) -> Failure | None:
    """The failure in the `error` column."""
    return _failure.validate_json(document) if document else None
