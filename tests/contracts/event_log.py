"""The contract of the log: positions, order, repeated appends, and the size limit."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import pytest

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.log.codec import VALUE_MAX_BYTES, decode
from gengui_stream.log.event_log import Appender, Forwarder
from gengui_stream.log.unpacking.records import LogRecord
from tests.events import wide_history
from tests.integration.running import a_request


class StoppableLog(Appender, Forwarder, Protocol):
    async def stop(self) -> None: ...


class Log(Protocol):
    """The log under test: empty at first."""

    @property
    def appender(self) -> StoppableLog: ...

    async def read(self, start: Mapping[int, int] | None = None) -> Sequence[LogRecord]:
        """Every record from the offsets in `start` on (default 0), each partition in order."""
        ...


class EventLogContract:
    async def test_an_append_returns_the_position_of_its_record(self, log: Log) -> None:
        events = [a_request() for _ in range(20)]
        positions = await log.appender.append_many(events)
        records = {(record.partition, record.offset): record for record in await log.read()}
        for event, position in zip(events, positions, strict=True):
            record = records[position.partition, position.offset]
            assert decode(record.key, record.value) == event
            assert record.timestamp
        assert len(records) == 20

    async def test_events_of_a_generation_keep_their_order_and_their_partition(self, log: Log) -> None:
        history = wide_history(0)
        first = await log.appender.append_many(history)
        again = await asyncio.gather(*(log.appender.append(event) for event in history))
        assert len({position.partition for position in [*first, *again]}) == 1
        assert [position.offset for position in first] == list(range(len(history)))
        assert sorted(position.offset for position in again) == list(range(len(history), 2 * len(history)))

    async def test_the_same_event_appended_again_is_a_second_record(self, log: Log) -> None:
        """The fold recognises it, not the log."""
        event = a_request()
        first, second = await log.appender.append_many([event, event])
        assert (first.partition, first.offset + 1) == (second.partition, second.offset)
        assert [decode(record.key, record.value) for record in await log.read()] == [event, event]

    async def test_a_reader_starts_at_the_offsets_that_it_names(self, log: Log) -> None:
        event = a_request()
        positions = [await log.appender.append(event) for _ in range(3)]
        read = await log.read({positions[0].partition: positions[1].offset})
        assert [record.offset for record in read] == [positions[1].offset, positions[2].offset]

    async def test_a_forwarded_record_keeps_its_key_value_and_time(self, log: Log) -> None:
        await log.appender.append(a_request())
        [record] = await log.read()
        assert record.timestamp is not None
        await log.appender.forward([record])
        first, second = await log.read()
        assert (second.key, second.value, second.timestamp) == (first.key, first.value, first.timestamp)

    async def test_an_event_over_the_limit_is_refused_and_nothing_is_appended(self, log: Log) -> None:
        """A reader would have to dead-letter it, however little is over the limit."""
        for length in (VALUE_MAX_BYTES, 2 * VALUE_MAX_BYTES):
            too_large = a_request().model_copy(update={"prompt": "x" * length})
            with pytest.raises(PermanentError, match="larger than"):
                await log.appender.append_many([a_request(), too_large])
        assert await log.read() == []

    async def test_a_stopped_log_takes_nothing(self, log: Log) -> None:
        await log.appender.stop()
        with pytest.raises(TransientError):
            await log.appender.append(a_request())
        assert await log.read() == []
