"""Reads the log through librdkafka and the tables through asyncpg, with none of the system's code."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg
import confluent_kafka

from tests.oracle.evidence import LogRecord, Row, Tables

READ_WITHIN_S: Final = 120.0
QUERIES: Final[Mapping[str, str]] = {
    "requests": "SELECT * FROM projections.generation_requests",
    "states": "SELECT * FROM projections.generation_states",
    "timeline": "SELECT * FROM projections.timeline ORDER BY partition, log_offset",
    "checkpoints": "SELECT * FROM projections.checkpoints",
    "daily_counts": "SELECT * FROM projections.daily_counts",
    "provider_usage": "SELECT * FROM projections.provider_usage",
    "dead_letters": "SELECT * FROM projections.dead_letters",
    "jobs": "SELECT * FROM jobs.jobs",
}


def _consumer(brokers: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "oracle",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": False,
        }
    )


def read_log(brokers: str, topic: str) -> list[LogRecord]:
    """Every record up to the ends found at the call, in the order of each partition. Blocks."""
    consumer = _consumer(brokers)
    try:
        ends = _ends(consumer, topic)
        consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in ends])
        return _until(consumer, ends)
    finally:
        consumer.close()


def log_ends(brokers: str, topic: str) -> dict[int, int]:
    """The next offset of each partition. Blocks."""
    consumer = _consumer(brokers)
    try:
        return _ends(consumer, topic)
    finally:
        consumer.close()


def _ends(consumer: confluent_kafka.Consumer, topic: str) -> dict[int, int]:
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    found = {
        partition: consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), timeout=30)
        for partition in sorted(partitions)
    }
    return {partition: end for partition, (_, end) in found.items()}


def _until(consumer: confluent_kafka.Consumer, ends: Mapping[int, int]) -> list[LogRecord]:
    found: list[LogRecord] = []
    left = {partition: end for partition, end in ends.items() if end > 0}
    gives_up_at = time.monotonic() + READ_WITHIN_S
    while left and time.monotonic() < gives_up_at:
        for message in consumer.consume(500, timeout=1.0):
            record = _record(message)
            found.append(record)
            if record.offset + 1 >= left.get(record.partition, 0):
                left.pop(record.partition, None)
    if left:
        raise TimeoutError(f"the log ends at {dict(ends)}, and was not read to its end: {left} are missing")
    beyond = [record for record in found if record.offset < ends[record.partition]]
    return sorted(beyond, key=lambda record: (record.partition, record.offset))


def _record(message: confluent_kafka.Message) -> LogRecord:
    if message.error() is not None:
        raise ConnectionError(str(message.error()))
    partition, offset, (_, timestamp) = message.partition(), message.offset(), message.timestamp()
    if partition is None or offset is None:
        raise ConnectionError("a message without a position")
    return LogRecord(partition, offset, _bytes(message.key()), _bytes(message.value()), timestamp)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, whose queries all see the rows of one moment."""
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def read_tables(dsn: str) -> Tables:
    async with snapshot(dsn) as connection:
        rows = {name: [_plain(row) for row in await connection.fetch(query)] for name, query in QUERIES.items()}
    return Tables(**rows)


def _plain(row: asyncpg.Record) -> Row:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}


async def next_offsets(dsn: str) -> dict[int, int]:
    """Up to where each partition is projected."""
    async with snapshot(dsn) as connection:
        rows = await connection.fetch("SELECT partition, next_offset FROM projections.checkpoints")
    return {int(row["partition"]): int(row["next_offset"]) for row in rows}


async def owner_of(dsn: str, email: str) -> str:
    async with snapshot(dsn) as connection:
        return str(await connection.fetchval("SELECT user_id FROM accounts.users WHERE email = $1", email))


async def jobs_and_timeline(dsn: str, owner_id: str) -> tuple[int, list[tuple[int, int]]]:
    """How many jobs there are, and the partition and offset of each event of the owner, in one snapshot."""
    async with snapshot(dsn) as connection:
        jobs = await connection.fetchval("SELECT count(*) FROM jobs.jobs")
        rows = await connection.fetch(
            "SELECT partition, log_offset FROM projections.timeline WHERE owner_id = $1", UUID(owner_id)
        )
    return int(jobs), [(int(partition), int(offset)) for partition, offset in rows]


def as_list(document: object) -> Sequence[Row]:
    """A JSON array in a text column; empty for null."""
    found: list[Row] = json.loads(str(document)) if document else []
    return found
