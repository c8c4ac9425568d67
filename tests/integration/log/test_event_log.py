"""A failed append leaves the log usable, and a confirmed one is on the log."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gengui_stream.errors import TransientError
from gengui_stream.log.codec import encode_headers
from gengui_stream.log.connection import ANSWER_S, connection
from gengui_stream.log.event_log import APPEND_TIMEOUT_S, EventLog
from gengui_stream.log.reader import stop_consumer
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, logged
from tests.integration.silent_proxy import silent_proxy

BEYOND_MEMORY = 7
"""Kafka remembers a producer's last five batches."""


def misplace(event_log: EventLog, topic: str, partition: int, sequence: int) -> None:
    """As a batch does that was given up: the producer and the broker count differently from now on."""
    producer = event_log._producer._current
    assert producer is not None
    producer._txn_manager._sequence_numbers[TopicPartition(topic, partition)] = sequence


async def test_a_gap_in_the_sequence_is_not_permanent(settings: Settings, event_log: EventLog) -> None:
    """The broker refuses everything of a producer that left one out: another producer must replace it."""
    request = a_request()
    position = await event_log.append(request)
    misplace(event_log, settings.events_topic, position.partition, 100)
    again = request.model_copy(update={"id": a_request().id})
    with pytest.raises(TransientError):
        await event_log.append(again)
    assert await event_log.append(again) > position
    assert [event.id for event in await logged(settings)] == [request.id, again.id]


async def test_what_the_broker_takes_for_a_repetition_is_not_confirmed(settings: Settings, event_log: EventLog) -> None:
    """It may have counted a batch that it never wrote; aiokafka would call that a success, at an offset of -1."""
    request = a_request()
    positions = [await event_log.append(request) for _ in range(BEYOND_MEMORY)]
    misplace(event_log, settings.events_topic, positions[0].partition, 0)
    later = [request.model_copy(update={"id": a_request().id}) for _ in range(2)]
    with suppress(TransientError):
        positions = await event_log.append_many(later)
        pytest.fail(f"confirmed at {positions}")
    positions = await event_log.append_many(later)
    assert [position.offset for position in positions] == [BEYOND_MEMORY, BEYOND_MEMORY + 1]
    assert [event.id for event in await logged(settings)][BEYOND_MEMORY:] == [event.id for event in later]


async def test_those_who_append_at_the_same_time_share_the_next_producer(
    settings: Settings, event_log: EventLog
) -> None:
    request = a_request()
    position = await event_log.append(request)
    misplace(event_log, settings.events_topic, position.partition, 100)
    await asyncio.gather(*(event_log.append(request) for _ in range(20)), return_exceptions=True)
    positions = await asyncio.gather(*(event_log.append(request) for _ in range(20)))
    assert len({position.offset for position in positions}) == 20


async def test_an_append_that_takes_too_long_gets_a_new_producer(
    settings: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs would take every later append with it."""
    async with event_log._producer.sending() as first:
        pass
    with monkeypatch.context() as patched:
        patched.setattr(event_log, "_append_s", 0)
        with pytest.raises(TransientError):
            await event_log.append(a_request())
    request = a_request()
    await event_log.append(request)
    async with event_log._producer.sending() as second:
        assert second is not first
    assert request.id in [event.id for event in await logged(settings)]


async def test_an_append_is_refused_in_time_while_the_next_producer_cannot_connect(settings: Settings) -> None:
    """The connection goes on: the first append after it has the producer."""
    host, _, port = settings.kafka_bootstrap_servers.partition(":")
    async with silent_proxy(host, int(port)) as proxy:
        behind = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{proxy.port}"})
        async with EventLog(behind) as log:
            request = a_request()
            position = await log.append(request)
            misplace(log, settings.events_topic, position.partition, 100)
            proxy.speaks.clear()
            log._append_s = 0.3
            for _ in range(3):  # the first one is refused by the broker
                async with asyncio.timeout(ANSWER_S / 2):
                    with pytest.raises(TransientError):
                        await log.append(request)
            proxy.speaks.set()
            log._append_s = APPEND_TIMEOUT_S
            assert await log.append(request) > position


async def test_a_record_repeats_the_envelope_in_its_headers(settings: Settings, event_log: EventLog) -> None:
    """For other consumers: those of this system do not read them."""
    event = a_request()
    position = await event_log.append(event)
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(**connection(settings))
    await consumer.start()
    try:
        at = TopicPartition(settings.events_topic, position.partition)
        consumer.assign([at])
        consumer.seek(at, position.offset)
        record = await consumer.getone()
    finally:
        await stop_consumer(consumer)
    assert list(record.headers) == encode_headers(event)


async def test_the_same_event_appended_again_is_ignored(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """What an append whose outcome was unknown amounts to."""
    history = wide_history(0, start=datetime.now(UTC))
    await event_log.append_many([event for event in history for _ in range(2)])
    await project_everything(settings, pool)
    row = await pool.fetchrow("SELECT sum(applied) AS applied, sum(ignored) AS ignored FROM projections.checkpoints")
    assert row is not None
    assert (row["applied"], row["ignored"]) == (len(history), len(history))
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline WHERE ignored IS NULL") == len(history)


async def test_without_a_broker_it_may_work_later(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(TransientError, match=r"no broker at 127\.0\.0\.1:1"):
        await EventLog(away).start()
