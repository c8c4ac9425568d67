"""The timeline: a row for every record of a generation, in the order of the log."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Undecodable, UnknownType, plausible_time
from gengui_stream.log.positions import Position
from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projections.outcomes import Applied, DeadLettered, Forwarded, Ignored, Outcome, Record, appended_at
from schemas.events import Event


class TimelineRow(NamedTuple):
    """One record of a generation, with the version and status after it. `ignored`: why it changed nothing; None: it was
    applied. `payload`: the value as received."""

    generation_id: UUID
    partition: int
    log_offset: int
    owner_id: UUID | None
    event_id: UUID | None
    type: str
    attempt: int | None
    occurred_at: datetime | None
    appended_at: datetime
    version: int | None
    status: str | None
    ignored: str | None
    payload: str

    @property
    def position(self) -> Position:
        return Position(self.partition, self.log_offset)


INSERT: Final = """
INSERT INTO projections.timeline (generation_id, partition, log_offset, owner_id, event_id, type, attempt,
    occurred_at, appended_at, version, status, ignored, payload)
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
WHERE t.event_id IS NOT NULL AND t.ignored <> 'wrong_partition'
GROUP BY t.partition, t.generation_id, t.event_id ORDER BY min(t.log_offset)
"""

INSTANTS: Final = (7, 8)

UnrequestedEvents: TypeAlias = dict[int, dict[UUID, tuple[UUID, ...]]]

# An offset belongs to one partition: a foreign producer may have put an event of the generation on another.
OF_GENERATION: Final = """
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
    status, ignored, payload
FROM projections.timeline
WHERE generation_id = $1 AND (partition, log_offset) > ($2::smallint, $3::bigint)
ORDER BY partition, log_offset LIMIT $4
"""

HAS: Final = """
SELECT 1 FROM projections.timeline WHERE generation_id = $1 AND partition = $2::smallint AND log_offset = $3
"""

NEW_OF_GENERATION: Final = """
SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at, version,
    status, ignored, payload
FROM projections.timeline LEFT JOIN unnest($2::smallint[], $3::bigint[]) AS seen (partition, last_offset)
    USING (partition)
WHERE generation_id = $1 AND log_offset > coalesce(last_offset, -1)
ORDER BY partition, log_offset LIMIT $4
"""

OF_OWNER: Final = """
SELECT t.* FROM unnest($2::smallint[], $3::bigint[]) AS seen (partition, last_offset),
LATERAL (SELECT generation_id, partition, log_offset, owner_id, event_id, type, attempt, occurred_at, appended_at,
        version, status, ignored, payload
    FROM projections.timeline
    WHERE owner_id = $1 AND partition = seen.partition AND log_offset > seen.last_offset
    ORDER BY log_offset LIMIT $4) t
"""


def rows_of(outcomes: Iterable[Outcome], partition: int) -> list[TimelineRow]:
    return [row for outcome in outcomes if (row := _row(outcome, partition)) is not None]


def _row(outcome: Outcome, partition: int) -> TimelineRow | None:
    if isinstance(outcome, Applied):  # the common case: unpacking is faster than named fields
        record, event, _, after = outcome
        return _event_row(record, partition, event, after, None)
    if isinstance(outcome, Ignored):
        record, read, state, reason, _ = outcome
        if isinstance(read, UnknownType):
            return _unknown_row(record, partition, read, state, reason)
        return _event_row(record, partition, read, state, reason)
    if isinstance(outcome, Forwarded):
        return _forwarded_row(outcome, partition)
    if isinstance(outcome, DeadLettered):
        return None
    assert_never(outcome)


def _event_row(
    record: Record, partition: int, event: Event, state: Generation | None, ignored: IgnoredReason | None
) -> TimelineRow:
    return TimelineRow(
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


def _forwarded_row(forwarded: Forwarded, partition: int) -> TimelineRow | None:
    """None for what cannot be decoded: the right partition keeps it as a dead letter."""
    record, decoded, _ = forwarded
    reason = IgnoredReason.WRONG_PARTITION
    if isinstance(decoded, Undecodable):
        return None
    if isinstance(decoded, UnknownType):
        return _unknown_row(record, partition, decoded, None, reason)
    row = _event_row(record, partition, decoded, None, reason)
    return row if plausible_time(decoded.occurred_at, record.timestamp) else row._replace(occurred_at=None)


def _unknown_row(
    record: Record, partition: int, unknown: UnknownType, state: Generation | None, reason: IgnoredReason
) -> TimelineRow | None:
    if unknown.generation_id is None:
        return None
    owner, version, status = (state.owner_id, state.version, state.status) if state else (None, None, None)
    text = (record.value or b"").decode()
    moment = appended_at(record)
    key = (unknown.generation_id, partition, record.offset, owner)
    return TimelineRow(*key, None, unknown.type, None, None, moment, version, status, reason, text)


async def unrequested_events(pool: "Pool | Connection", wanted: Mapping[int, Collection[UUID]]) -> UnrequestedEvents:
    """The ids of the recorded events of these generations, which have no state yet: by partition and generation, in the
    order of the log."""
    pairs = [(partition, generation_id) for partition, ids in wanted.items() for generation_id in ids]
    found: UnrequestedEvents = {partition: {} for partition in wanted}
    for row in await pool.fetch(UNREQUESTED, *map(list, zip(*pairs, strict=True))) if pairs else ():
        earlier = found[row["partition"]].get(row["generation_id"], ())
        found[row["partition"]][row["generation_id"]] = (*earlier, row["event_id"])
    return found


def write(rows: Sequence[TimelineRow]) -> Write:
    return Write(INSERT, rows, INSTANTS)


async def of_generation(
    pool: Pool, generation_id: UUID, after: Position | None = None, limit: int | None = None
) -> list[TimelineRow]:
    """Records after this position, by partition, each in the order of the log."""
    partition, offset = (after.partition, after.offset) if after is not None else (-1, -1)
    with transient_errors():
        return [TimelineRow(*row) for row in await pool.fetch(OF_GENERATION, generation_id, partition, offset, limit)]


async def has(pool: Pool, generation_id: UUID, position: Position) -> bool:
    """Whether the timeline of the generation has an event at this position."""
    with transient_errors():
        return await pool.fetchval(HAS, generation_id, position.partition, position.offset) is not None


async def new_of_generation(pool: Pool, generation_id: UUID, seen: Mapping[int, int], limit: int) -> list[TimelineRow]:
    """Records after the last offset in `seen` of their partition, all of those of other partitions."""
    with transient_errors():
        rows = await pool.fetch(NEW_OF_GENERATION, generation_id, list(seen.keys()), list(seen.values()), limit)
    return [TimelineRow(*row) for row in rows]


async def of_owner(pool: Pool, owner_id: UUID, seen: Mapping[int, int], limit: int) -> list[TimelineRow]:
    """At most `limit` records of each partition after the last offset in `seen`; in order within each partition."""
    with transient_errors():
        rows = await pool.fetch(OF_OWNER, owner_id, list(seen.keys()), list(seen.values()), limit)
    return [TimelineRow(*row) for row in rows]
