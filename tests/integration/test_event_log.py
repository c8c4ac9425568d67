"""An append that failed leaves the log usable, and one that was confirmed is on it."""

import asyncio
from contextlib import suppress

import pytest
from aiokafka import TopicPartition

from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.settings import Settings
from tests.integration.running import a_request, logged

BEYOND_MEMORY = 7
"""Kafka remembers a producer's last five batches."""


def misplace(event_log: EventLog, topic: str, partition: int, sequence: int) -> None:
    """As a batch does that was given up: the producer and the broker count differently from now on."""
    producer = event_log._producer._current
    assert producer is not None
    producer._txn_manager._sequence_numbers[TopicPartition(topic, partition)] = sequence


async def test_a_gap_in_the_sequence_is_not_for_ever(settings: Settings, event_log: EventLog) -> None:
    """The broker refuses everything of a producer that left one out: it takes another one to go on."""
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


async def test_a_log_that_was_stopped_stays_so(event_log: EventLog) -> None:
    await event_log.stop()
    with pytest.raises(TransientError):
        await event_log.append(a_request())
