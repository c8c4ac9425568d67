"""Raw records: the agents get them, and what a foreign client puts into a batch ends neither them nor a command."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka
import pytest

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.unpacking.records import RawRecord
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.agents.agents_runs import run_projector
from tests.integration.log.logs import everything
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, eventually, state_of
from tests.timings import TIMINGS


class Keeping(Projector):
    """Keeps what it was given."""

    def __init__(self, pool: Pool, topic: str, timings: JobTimings) -> None:
        super().__init__(pool, topic, timings)
        self.given: list[Record] = []

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        self.given += [record for records in batches.values() for record in records]
        return await super().project_all(batches)


async def test_the_projector_is_given_raw_records(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    events = wide_history(1)
    await event_log.append_many(events)
    stop, keeping = asyncio.Event(), Keeping(pool, settings.events_topic, TIMINGS)
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


JAVA_PARTITIONER = {"partitioner": "murmur2_random"}


def produced(settings: Settings, event: Event, **more: str) -> None:
    """By another client, with settings of its own."""
    own = {name.replace("_", "."): value for name, value in more.items()}
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, **JAVA_PARTITIONER, **own}
    )
    producer.produce(settings.events_topic, encode_value(event), encode_key(event))
    assert producer.flush(30) == 0


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_of_another_client_is_readable(settings: Settings, pool: Pool, codec: str) -> None:
    event = a_request(prompt="a" * 500)
    produced(settings, event, compression_type=codec)
    await project_everything(settings, pool)
    assert await state_of(pool, event.generation_id)


async def test_marks_of_a_transaction_are_no_lost_records(settings: Settings, pool: Pool) -> None:
    """A foreign producer may use transactions; the log's own never does."""
    event = a_request()
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, **JAVA_PARTITIONER, "transactional.id": "foreign"}
    )
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    producer.produce(settings.events_topic, encode_value(event), encode_key(event))
    await asyncio.to_thread(producer.commit_transaction, 30)
    later = a_request(generation_id=event.generation_id)
    produced(settings, later)
    await project_everything(settings, pool)
    assert await state_of(pool, event.generation_id)
    partition = (await everything(settings))[0].partition
    row = await pool.fetchrow("SELECT * FROM projections.checkpoints WHERE partition = $1", partition)
    assert row is not None
    assert (row["next_offset"], row["applied"], row["ignored"], row["dead_lettered"]) == (3, 1, 2, 0)
    report = await verify(settings)
    assert report.agrees, report.samples
