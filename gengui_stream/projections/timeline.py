"""The timeline: a row for every record of a generation, in the order of the log."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.generation.evolve import IgnoredReason
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import UnknownType
from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Connection, Pool
from gengui_stream.projections.outcomes import Applied, DeadLettered, Ignored, Outcome, Record, appended_at
from schemas.events import Event

Row: TypeAlias = tuple[object, ...]

COLUMNS: Final = (
    "generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version, "
    "status, ignored, payload"
)

INSERT: Final = """
INSERT INTO projections.timeline (generation_id, partition, log_offset, owner_id, event_id, type, attempt,
    occurred_at, appended_at,
    version, status, ignored, payload)
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, to_timestamp(occurred_at),
    to_timestamp(appended_at), version, status, ignored, payload
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::int[],
    $8::float8[], $9::float8[], $10::int[], $11::text[], $12::text[], $13::text[])
    AS new (generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
        status, ignored, payload)
"""


UNREQUESTED: Final = """
SELECT t.partition, t.generation_id, t.event_id
FROM unnest($1::smallint[], $2::uuid[]) AS wanted (partition, generation_id)
JOIN projections.timeline t USING (partition, generation_id)
WHERE t.event_id IS NOT NULL GROUP BY t.partition, t.generation_id, t.event_id ORDER BY min(t.log_offset)
"""

INSTANTS: Final = (7, 8)

UnrequestedEvents: TypeAlias = dict[int, dict[UUID, tuple[UUID, ...]]]


def rows_of(outcomes: Iterable[Outcome], partition: int) -> list[Row]:
    return [row for outcome in outcomes if (row := _row(outcome, partition)) is not None]


def _row(outcome: Outcome, partition: int) -> Row | None:
    if isinstance(outcome, Applied):  # the common case: unpacking is faster than named fields
        record, event, _, after = outcome
        return _event_row(record, partition, event, after, None)
    if isinstance(outcome, Ignored):
        record, read, state, reason, _ = outcome
        if isinstance(read, UnknownType):
            return _unknown_row(record, partition, read, state, reason)
        return _event_row(record, partition, read, state, reason)
    if isinstance(outcome, DeadLettered):
        return None
    assert_never(outcome)


def _event_row(
    record: Record, partition: int, event: Event, state: Generation | None, ignored: IgnoredReason | None
) -> Row:
    return (
        event.generation_id,
        partition,
        record.offset,
        state.owner_id if state else None,
        event.id,
        event.type,
        event.attempt,
        None if ignored is IgnoredReason.IMPLAUSIBLE_TIME else event.occurred_at,
        appended_at(record),
        state.version if state else None,
        state.status if state else None,
        ignored,
        (record.value or b"").decode(),
    )


def _unknown_row(
    record: Record, partition: int, unknown: UnknownType, state: Generation | None, reason: IgnoredReason
) -> Row | None:
    if unknown.generation_id is None:
        return None
    owner, version, status = (state.owner_id, state.version, state.status) if state else (None, None, None)
    text = (record.value or b"").decode()
    moment = appended_at(record)
    key = (unknown.generation_id, partition, record.offset, owner)
    return (*key, None, unknown.type, None, None, moment, version, status, reason, text)


async def unrequested_events(pool: "Pool | Connection", wanted: Mapping[int, Collection[UUID]]) -> UnrequestedEvents:
    """The ids of the recorded events of these generations, which have no state yet: by partition and generation, in the
    order of the log."""
    pairs = [(partition, generation_id) for partition, ids in wanted.items() for generation_id in ids]
    found: UnrequestedEvents = {partition: {} for partition in wanted}
    for row in await pool.fetch(UNREQUESTED, *map(list, zip(*pairs, strict=True))) if pairs else ():
        earlier = found[row["partition"]].get(row["generation_id"], ())
        found[row["partition"]][row["generation_id"]] = (*earlier, row["event_id"])
    return found


def write(rows: list[Row]) -> Write:
    return Write(INSERT, rows, INSTANTS)
