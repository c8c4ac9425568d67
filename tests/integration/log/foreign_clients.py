"""Other Kafka clients that publish to the log."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import confluent_kafka

from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.settings import Settings
from schemas.events import Event

JAVA_PARTITIONER: Final = {"partitioner": "murmur2_random"}


def produced(settings: Settings, events: Sequence[Event], options: Mapping[str, str]) -> None:
    """By librdkafka, the client of C, Go, .NET and Node, with these options and its own defaults."""
    producer = _producer(settings, options)
    _enqueue(producer, settings, events)
    assert producer.flush(30) == 0


async def produced_in_a_transaction(settings: Settings, events: Sequence[Event], *, commits: bool = True) -> None:
    """The broker marks its end on each partition that has an event of it. `commits`: else it is aborted."""
    producer = _producer(settings, {**JAVA_PARTITIONER, "transactional.id": str(new_id())})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    _enqueue(producer, settings, events)
    producer.flush(30)
    await asyncio.to_thread(producer.commit_transaction if commits else producer.abort_transaction, 30)


async def produced_by_kcat(settings: Settings, events: Sequence[Event]) -> None:
    """`kcat`, the command, with its own defaults."""
    process = await asyncio.create_subprocess_exec(
        *("kcat", "-P", "-b", settings.kafka_bootstrap_servers, "-t", settings.events_topic, "-K", "\t"),
        stdin=asyncio.subprocess.PIPE,
    )
    lines = [encode_key(event) + b"\t" + encode_value(event) + b"\n" for event in events]
    await process.communicate(b"".join(lines))
    assert process.returncode == 0


def _producer(settings: Settings, options: Mapping[str, str]) -> confluent_kafka.Producer:
    return confluent_kafka.Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, **options})


def _enqueue(producer: confluent_kafka.Producer, settings: Settings, events: Sequence[Event]) -> None:
    for event in events:
        producer.produce(settings.events_topic, encode_value(event), encode_key(event))
