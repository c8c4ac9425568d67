"""A fold written by hand for speed: getmany, orjson, unnest, the checkpoint in the same transaction.

Requests go to `generation_requests`, states to `handwritten_states`, merged in SQL so that no state is ever read; with
`--timeline` the timeline goes to `timeline` as well. It leaves out validation, fencing, dead letters, attempts, reasons
of ignored events, daily and provider counts, jobs and notifications. Any other type of event ends it.

python -m tests.bench.fold.handwritten_loop [--timeline]
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gengui_stream.settings import Settings, load_settings

Event: TypeAlias = dict[str, Any]
Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

BATCH: Final = 2_000

TABLE: Final = """
CREATE TABLE handwritten_states (
    generation_id uuid PRIMARY KEY, partition smallint NOT NULL, log_offset bigint NOT NULL, status text NOT NULL,
    version int NOT NULL, percent double precision, stage text, dispatched_at timestamptz, started_at timestamptz,
    ended_at timestamptz, heartbeat_at timestamptz, outputs text, thumbnail text
) WITH (fillfactor = 70)
"""

REQUESTS: Final = """
INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model, provider,
    max_attempts,
    deadline, correlation_id, traceparent, requested_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[],
    $9::int[], $10::timestamptz[], $11::text[], $12::text[], $13::timestamptz[])
ON CONFLICT DO NOTHING
"""

STATES: Final = """
INSERT INTO handwritten_states AS s
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::text[], $5::int[], $6::float8[], $7::text[],
    $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[])
ON CONFLICT (generation_id) DO UPDATE SET
    log_offset = EXCLUDED.log_offset, status = EXCLUDED.status, version = s.version + EXCLUDED.version,
    percent = coalesce(EXCLUDED.percent, s.percent), stage = coalesce(EXCLUDED.stage, s.stage),
    dispatched_at = coalesce(s.dispatched_at, EXCLUDED.dispatched_at),
    started_at = coalesce(s.started_at, EXCLUDED.started_at), ended_at = coalesce(s.ended_at, EXCLUDED.ended_at),
    heartbeat_at = coalesce(EXCLUDED.heartbeat_at, s.heartbeat_at), outputs = coalesce(EXCLUDED.outputs, s.outputs),
    thumbnail = coalesce(EXCLUDED.thumbnail, s.thumbnail)
"""

TIMELINE: Final = """
INSERT INTO projections.timeline (generation_id, partition, log_offset, owner_id, event_id, type, attempt,
    occurred_at, appended_at,
    status, payload)
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::int[],
    $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[])
"""

ADVANCE: Final = """
INSERT INTO projections.checkpoints AS p (projection, topic, partition, start_offset, next_offset, owner_epoch)
SELECT 'handwritten', $1, partition, 0, next_offset, 0
FROM unnest($2::int[], $3::bigint[]) AS new (partition, next_offset)
ON CONFLICT (projection, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""

POSITIONS: Final = "SELECT partition, next_offset FROM projections.checkpoints WHERE topic = $1"


def moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def request_row(event: Event) -> tuple[object, ...]:
    names = ("generation_id", "owner_id", "prompt", "seed", "width", "height", "model", "provider", "max_attempts")
    deadline = datetime.fromisoformat(event["deadline"]) if "deadline" in event else None
    traced = event.get("correlation_id"), event.get("traceparent")
    return (*(event[name] for name in names), deadline, *traced, moment(event))


def change_of(before: Event, record: Record, event: Event) -> Event:
    """The changes of one generation in the batch, up to this event."""
    before |= {"partition": record.partition, "log_offset": record.offset}
    before["version"] = before.get("version", 0) + 1
    match event["type"]:
        case "generation.requested":
            before["status"] = "queued"
        case "generation.dispatched":
            before |= {"status": "dispatched", "dispatched_at": moment(event)}
        case "generation.started":
            before |= {"status": "processing", "started_at": moment(event)}
        case "generation.progressed":
            progress = {"percent": event["percent"], "stage": event["stage"], "heartbeat_at": moment(event)}
            before |= {"status": "processing", **progress}
        case "generation.completed":
            outputs = orjson.dumps(event["outputs"]).decode()
            before |= {"status": "completed", "ended_at": moment(event), "outputs": outputs}
        case "thumbnail.created":
            before |= {"status": "completed", "thumbnail": event["object_key"]}
        case other:
            raise ValueError(other)
    return before


STATE_FIELDS: Final = (
    "partition", "log_offset", "status", "version", "percent", "stage", "dispatched_at", "started_at", "ended_at",
    "heartbeat_at", "outputs", "thumbnail",
)  # fmt: skip


class Loop:
    """One transaction for everything that `getmany` returned."""

    def __init__(self, connection: Connection, *, timeline: bool) -> None:
        self._connection = connection
        self._timeline = timeline
        self._owners: dict[str, str] = {}

    async def store(self, records: Sequence[Record]) -> None:
        changes: dict[str, Event] = {}
        requests, history = [], []
        for record in records:
            event = orjson.loads(record.value or b"")
            generation_id = event["generation_id"]
            changes[generation_id] = change_of(changes.get(generation_id, {}), record, event)
            if event["type"] == "generation.requested":
                requests.append(request_row(event))
                self._owners[generation_id] = event["owner_id"]
            if self._timeline:
                history.append(self._history_row(record, event, changes[generation_id]["status"]))
        states = [(key, *map(change.get, STATE_FIELDS)) for key, change in changes.items()]
        positions = {record.partition: record.offset + 1 for record in records}
        async with self._connection.transaction():
            for statement, rows in ((REQUESTS, requests), (STATES, states), (TIMELINE, history)):
                if rows:
                    await self._connection.execute(statement, *map(list, zip(*rows, strict=True)))
            await self._connection.execute(ADVANCE, records[0].topic, [*positions], [*positions.values()])

    def _history_row(self, record: Record, event: Event, status: str) -> tuple[object, ...]:
        owner = self._owners.get(event["generation_id"])
        appended = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        place = (event["generation_id"], record.partition, record.offset, owner, event["id"], event["type"])
        return (*place, event.get("attempt"), moment(event), appended, status, (record.value or b"").decode())


async def run(settings: Settings, *, timeline: bool) -> None:
    connection = await asyncpg.connect(settings.database_dsn, server_settings={"timezone": "UTC", "jit": "off"})
    known = {row["partition"]: row["next_offset"] for row in await connection.fetch(POSITIONS, settings.events_topic)}
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        enable_auto_commit=False,
        fetch_max_wait_ms=20,
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    partitions = [TopicPartition(settings.events_topic, number) for number in range(settings.events_partitions)]
    consumer.assign(partitions)
    for at in partitions:
        consumer.seek(at, known.get(at.partition, 0))
    loop = Loop(connection, timeline=timeline)
    while True:
        fetched = await consumer.getmany(timeout_ms=1_000, max_records=BATCH)
        if fetched:
            await loop.store([record for records in fetched.values() for record in records])


if __name__ == "__main__":
    uvloop.run(run(load_settings(env_files=()), timeline="--timeline" in sys.argv))
