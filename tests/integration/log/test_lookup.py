"""Single records of the log: those that are asked for, wherever they are, and no others."""

from datetime import UTC, datetime, timedelta

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.lookup import records as lookup
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.log.logs import everything, remove_before
from tests.integration.running import a_request

pytestmark = pytest.mark.stack


async def test_records_are_found_by_their_offsets(
    settings: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In many batches, so that they lie in different fetches."""
    monkeypatch.setattr(lookup, "FETCH_BYTES", 1_000)
    for number in range(6):
        await event_log.append_many([each for more in range(10) for each in wide_history(10 * number + more)])
    every = await everything(settings)
    async with opened_lookup(settings) as log:
        for partition in range(settings.events_partitions):
            own = {record.offset: record for record in every if record.partition == partition}
            wanted = [*range(0, len(own), 7), len(own) - 1]
            assert await log.records(partition, wanted) == {offset: own[offset] for offset in wanted}
            assert await log.records(partition, []) == {}


async def test_offsets_outside_of_the_log_have_no_record(settings: Settings, event_log: EventLog) -> None:
    positions = await event_log.append_many(wide_history(0))
    partition, last = positions[-1].partition, positions[-1].offset
    async with opened_lookup(settings) as log:
        await remove_before(settings, {partition: 4})
        assert set(await log.records(partition, range(last + 5))) == set(range(4, last + 1))
        assert await log.records(partition, [last + 1, last + 1_000]) == {}
        first = await log.first_from(partition, 0)
        assert first is not None
        assert first.offset == 4
        assert await log.first_from(partition, last + 1) is None
        assert (await log.ends())[partition] == last + 1


async def test_the_first_record_of_a_time_is_found(settings: Settings, event_log: EventLog) -> None:
    request = a_request()
    first = await event_log.append(request)
    between = datetime.now(UTC) + timedelta(milliseconds=1)
    while datetime.now(UTC) <= between:
        pass
    second = await event_log.append(request)
    async with opened_lookup(settings) as log:
        assert (await log.offsets_at(between))[first.partition] == second.offset
        assert (await log.offsets_at(between - timedelta(hours=1)))[first.partition] == first.offset
        assert await log.offsets_at(between + timedelta(hours=1)) == await log.ends()


async def test_a_broker_that_is_not_there_is_an_expected_error(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(TransientError):
        async with opened_lookup(nowhere):
            pass
