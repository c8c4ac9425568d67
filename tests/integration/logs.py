"""Putting records on a real log, and reading all of it."""

from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from gengui_stream.log.connection import connection
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import Record, open_reader
from gengui_stream.settings import Settings


async def send_by_key(settings: Settings, key: bytes, value: bytes) -> Position:
    """Anything at all, where our own producer would put it."""
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        sent = await producer.send_and_wait(settings.events_topic, value, key=key)
    finally:
        await producer.stop()
    return Position(sent.partition, sent.offset)


async def remove_before(settings: Settings, offsets: Mapping[int, int]) -> None:
    """The records before these offsets, as a retention does that somebody has set."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        wanted = {TopicPartition(settings.events_topic, p): RecordsToDelete(offset) for p, offset in offsets.items()}
        await admin.delete_records(wanted)
    finally:
        await admin.close()


async def everything(settings: Settings, start: Mapping[int, int] | None = None) -> list[Record]:
    """Every record of the log from there on, each partition in order."""
    found: list[Record] = []
    async with open_reader(settings, start) as reader:
        async for records in reader.until_end():
            found += records
    return found
