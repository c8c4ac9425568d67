"""Reading the log outside a consumer group."""

import asyncio

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.log import reader
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.settings import Settings
from tests.integration.log.logs import everything, remove_before
from tests.integration.running import a_request


async def test_a_reader_may_be_closed_as_soon_as_it_is_open(settings: Settings) -> None:
    """Nothing to read: `verify` opens a reader and closes it at once, which aiokafka alone answers with a
    cancellation."""
    for _ in range(3):
        async with open_reader(settings) as reader:
            assert reader.offsets == dict.fromkeys(range(settings.events_partitions), 0)


async def test_it_reads_each_partition_in_order_up_to_the_end(settings: Settings, event_log: EventLog) -> None:
    positions = await event_log.append_many([a_request() for _ in range(30)])
    expected = sorted((position.partition, position.offset) for position in positions)
    records = await everything(settings)
    assert sorted((record.partition, record.offset) for record in records) == expected
    for partition in range(settings.events_partitions):
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))


async def test_it_begins_at_the_given_offset_and_reads_no_other_partition(
    settings: Settings, event_log: EventLog
) -> None:
    request = a_request()
    positions = [await event_log.append(request) for _ in range(5)]
    await event_log.append_many([a_request() for _ in range(20)])
    mine = positions[0].partition
    async with open_reader(settings, {mine: 3}, [mine]) as reader:
        found = [record async for records in reader.until_end() for record in records]
        end = (await reader.ends())[mine]
    assert found[0].offset == 3
    assert {record.partition for record in found} == {mine}
    assert reader.offsets == {mine: end}


async def test_the_end_is_known_without_a_read_and_moves_with_each_append(
    settings: Settings, event_log: EventLog
) -> None:
    request = a_request()
    async with open_reader(settings) as reader:
        for number in range(1, 4):
            await event_log.append_many([request] * 10)
            assert sum((await reader.ends()).values()) == 10 * number
            async for _ in reader.until_end():
                pass
            assert sum(reader.offsets.values()) == 10 * number


async def test_records_that_were_removed_are_not_waited_for(settings: Settings, event_log: EventLog) -> None:
    """Nor are they at the end, where no record behind them says that they are gone."""
    request = a_request()
    [mine] = {(await event_log.append(request)).partition for _ in range(5)}
    await remove_before(settings, {mine: 5})
    async with open_reader(settings, {mine: 1}) as reader, asyncio.timeout(30):
        assert [records async for records in reader.until_end()] == []
        await event_log.append(request)
        assert len([record async for records in reader.until_end() for record in records]) == 1


async def test_a_broker_that_sends_nothing_is_not_waited_for_without_end(
    settings: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an event more, and does not send it."""
    ends = LogReader.ends

    async def more(each: LogReader) -> dict[int, int]:
        return {partition: end + 1 for partition, end in (await ends(each)).items()}

    monkeypatch.setattr(LogReader, "ends", more)
    monkeypatch.setattr(reader, "SENT_WITHIN_S", 1.0)
    await event_log.append(a_request())
    async with open_reader(settings) as opened, asyncio.timeout(20):
        with pytest.raises(TransientError, match="the broker sent nothing"):
            async for _ in opened.until_end():
                pass


async def test_without_a_broker_it_may_work_later(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(TransientError, match="no broker at"):
        async with open_reader(away):
            pass
