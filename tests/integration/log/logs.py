"""Appends records to a real log, and reads all of it."""

from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from gengui_stream.log.connection import connection
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import open_reader
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.settings import Settings


async def send_by_key(settings: Settings, key: bytes, value: bytes) -> Position:
    """Any bytes, on the partition where our own producer would put them."""
    return await _send(settings, None, key, value)


async def send_to(settings: Settings, partition: int, key: bytes, value: bytes) -> Position:
    """Any bytes, as a producer with another partitioner would put them there."""
    return await _send(settings, partition, key, value)


async def _send(settings: Settings, partition: int | None, key: bytes, value: bytes) -> Position:
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        sent = await producer.send_and_wait(settings.events_topic, value, key=key, partition=partition)
    finally:
        await producer.stop()
    return Position(sent.partition, sent.offset)


async def remove_before(settings: Settings, offsets: Mapping[int, int]) -> None:
    """Deletes the records before these offsets, like a configured retention."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        wanted = {TopicPartition(settings.events_topic, p): RecordsToDelete(offset) for p, offset in offsets.items()}
        await admin.delete_records(wanted)
    finally:
        await admin.close()


async def everything(settings: Settings, start: Mapping[int, int] | None = None) -> list[LogRecord]:
    """Every record of the log from there on, each partition in order."""
    found: list[LogRecord] = []
    async with open_reader(settings, start) as reader:
        async for records in reader.until_end():
            found += records
    return found
