"""Raw records: only the consumers of the agents get them."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from aiokafka.consumer import fetcher

from agents.raw_records import REPLACED, RawPartitionRecords, RawRecord, offer_raw_records
from gengui_stream.log.codec import encode_headers, encode_key, encode_value
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.reader import open_reader
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import ProjectedBatch, Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.agents.agents_runs import run_projector
from tests.integration.running import eventually


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's own class at the start of the test and after it."""
    monkeypatch.setitem(vars(fetcher), REPLACED, RawPartitionRecords.__base__)  # fails where aiokafka has no such name


@pytest.fixture
def offered(restored: None) -> None:
    offer_raw_records()


class Keeping(Projector):
    """Keeps what it was given."""

    def __init__(self, pool: Pool, topic: str) -> None:
        super().__init__(pool, topic)
        self.given: list[Record] = []

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        self.given += [record for records in batches.values() for record in records]
        return await super().project_all(batches)


@pytest.mark.usefixtures("restored")
async def test_the_projector_is_given_raw_records(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    events = wide_history(1)
    await event_log.append_many(events)
    stop, keeping = asyncio.Event(), Keeping(pool, settings.events_topic)
    run = asyncio.ensure_future(run_projector(settings, keeping, stop, tmp_path))

    async def all_given() -> bool:
        return len(keeping.given) == len(events)

    await eventually(all_given)
    stop.set()
    await run
    assert {type(record) for record in keeping.given} == {RawRecord}
    assert [(record.key, record.value) for record in keeping.given] == [
        (encode_key(event), encode_value(event)) for event in events
    ]
    assert [record.offset for record in keeping.given] == list(range(len(events)))
    assert all(record.timestamp for record in keeping.given)


@pytest.mark.usefixtures("offered")
async def test_who_did_not_ask_gets_whole_records(settings: Settings, event_log: EventLog) -> None:
    [event, *_] = wide_history(1)
    await event_log.append(event)
    async with open_reader(settings) as reader:
        found = [record async for chunk in reader.until_end() for record in chunk]
    [record] = found
    assert type(record) is ConsumerRecord
    assert list(record.headers) == encode_headers(event)
