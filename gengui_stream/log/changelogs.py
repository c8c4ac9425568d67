"""Reads the live tables from their changelog topics: the last value of a key is its value in the table.

For operators only: no role reads these tables, and they are not authoritative.
"""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gengui_stream.errors import PermanentError
from gengui_stream.log.connection import connection, no_broker
from gengui_stream.log.reader import stop_consumer
from gengui_stream.log.topics import ensure_changelog
from gengui_stream.settings import Settings

TABLES: Final = {
    "in_flight": "generations that have not ended: status, attempt, and since when",
    "events_by_type": "number of events, by start of the window, partition of the log and type",
}
WINDOWED: Final = frozenset({"events_by_type"})
KEPT_WINDOWS: Final = 60
"""A window is kept for this many times its length."""

STATE: Final = "state"
"""The part of a row of `in_flight` that its fold needs, and that is not shown."""

POLL_MS: Final = 500

Change = tuple[str, object]
"""A key and its new value; None for a removed key."""


def changelog_topic(settings: Settings, table: str) -> str:
    if table not in TABLES:
        raise PermanentError(f"there is no live table {table!r}; there are: {', '.join(TABLES)}")
    return f"{settings.live_tables_group}-{table}-changelog"


async def ensure_changelogs(settings: Settings) -> None:
    """Creates the missing changelog topics with faust's settings. Faust does so itself, but forms its consumer group
    before brokers list the new topics, and then crashes. Raises TransientError when no broker is reachable."""
    kept = {"cleanup.policy": "compact"}
    windowed = {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(int(KEPT_WINDOWS * settings.in_flight_window_s * 1000)),
    }
    for table in TABLES:
        await ensure_changelog(settings, changelog_topic(settings, table), windowed if table in WINDOWED else kept)


async def read_changelog(settings: Settings, table: str) -> dict[str, object]:
    """The current content of the table. Raises PermanentError when there is no such table, TransientError when no
    broker is reachable."""
    content: dict[str, object] = {}
    async with _opened(settings, table) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while not await _reached(consumer, ends):
            for key, value in await _changes(consumer, table, settings):
                content.pop(key, None)
                if value is not None:
                    content[key] = value
    return content


async def tail_changelog(settings: Settings, table: str, *, from_start: bool = False) -> AsyncIterator[Change]:
    """Every change from now on, or from the start of the changelog; never ends."""
    async with _opened(settings, table) as consumer:
        if not from_start:
            for partition, end in (await consumer.end_offsets(list(consumer.assignment()))).items():
                consumer.seek(partition, end)
        while True:
            for change in await _changes(consumer, table, settings):
                yield change


@asynccontextmanager
async def _opened(settings: Settings, table: str) -> AsyncIterator[AIOKafkaConsumer]:
    topic = changelog_topic(settings, table)
    consumer = AIOKafkaConsumer(
        **connection(settings), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=200
    )
    try:
        await consumer.start()
        if topic not in await consumer.topics():
            raise PermanentError(f"no topic {topic}: has `gengui-stream agents --app live-tables` ever run?")
        consumer.assign([TopicPartition(topic, partition) for partition in range(settings.events_partitions)])
        yield consumer
    except (KafkaError, OSError) as error:
        raise await no_broker(settings, error) from error
    finally:
        await stop_consumer(consumer)


async def _reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether everything before `ends` was read; an empty partition counts as read."""
    for partition, end in ends.items():
        if end and await consumer.position(partition) < end:
            return False
    return True


async def _changes(consumer: AIOKafkaConsumer, table: str, settings: Settings) -> list[Change]:
    fetched = await consumer.getmany(timeout_ms=POLL_MS)
    records = [record for chunk in fetched.values() for record in chunk]
    if table in WINDOWED:
        return list(_windowed(records, settings))
    return [(_text(record.key), _value(record.value)) for record in records]


def _windowed(records: Iterable[ConsumerRecord[bytes | None, bytes | None]], settings: Settings) -> Iterable[Change]:
    """Keys are [type|partition, [start, end]]. Expired windows are left out, whether or not faust has removed them."""
    kept = time.time() - KEPT_WINDOWS * settings.in_flight_window_s
    for record in records:
        key, (start, end) = orjson.loads(record.key or b"")
        if end >= kept:
            kind, _, partition = key.partition("|")
            yield f"{datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ} {partition} {kind}", _value(record.value)


def _text(key: bytes | None) -> str:
    return str(orjson.loads(key)) if key else ""


def _value(value: bytes | None) -> object:
    decoded: object = orjson.loads(value) if value else None
    return {name: part for name, part in decoded.items() if name != STATE} if isinstance(decoded, dict) else decoded
