"""Raw records: the agents get them, and what a foreign client puts into a batch ends neither them nor a command."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from agents.run import run_agents, run_live_tables
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.errors import PermanentError
from gengui_stream.log.changelogs import read_changelog
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.unpacking.records import RawRecord
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.agents.agents_runs import run_projector
from tests.integration.api.client import Client, completed, started, thumbnail
from tests.integration.api.conftest import base, session, user
from tests.integration.commands import command
from tests.integration.log.foreign_clients import JAVA_PARTITIONER, produced, produced_in_a_transaction
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, eventually, running, state_of
from tests.timings import TIMINGS

__all__ = ["base", "session", "user"]


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


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_of_another_client_is_readable(settings: Settings, pool: Pool, codec: str) -> None:
    event = a_request(prompt="a" * 500)
    produced(settings, [event], {**JAVA_PARTITIONER, "compression.type": codec})
    await project_everything(settings, pool)
    assert await state_of(pool, event.generation_id)


async def test_marks_of_transactions_are_no_lost_records(
    settings: Settings, pool: Pool, user: Client, event_log: EventLog
) -> None:
    """A foreign producer may use transactions; the log's own never does. Neither a role nor a command that reads the
    log takes a mark for a gap, and the events of an aborted one count too: each reader sees the whole log."""
    committed, aborted = await user.created(), a_request()
    await produced_in_a_transaction(settings, [started(committed)])
    await produced_in_a_transaction(settings, [aborted], commits=False)
    async with user.stream(f"/v1/generations/{committed}/stream") as live:
        await event_log.append_many([completed(committed), thumbnail(committed)])
        streamed = [message.event for message in await live.rest()]
    kinds = ["generation.requested", "generation.started", "generation.completed", "thumbnail.created"]
    assert streamed == [*kinds, "end"]
    assert await eventually(partial(state_of, pool, aborted.generation_id))
    await _settled_and_shown(settings, pool, [*kinds, aborted.type])


async def _settled_and_shown(settings: Settings, pool: Pool, types: Sequence[str]) -> None:
    counted = "SELECT sum(applied) = $1 AND sum(ignored) = 2 FROM projections.checkpoints"
    assert await eventually(partial(pool.fetchval, counted, len(types)))
    lag = await command(settings, "lag", "--max", "0", "--json")
    assert (lag.code, lag.document["events"]) == (0, 0)
    tail = await command(settings, "events", "tail", "--from", "start", "--no-follow", "--json")
    shown = Counter(document["type"] for document in tail.documents)
    assert shown == Counter(types) + Counter({"(transaction marker)": 2})
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_the_roles_go_on_behind_marks_of_transactions(settings: Settings, pool: Pool) -> None:
    """The agents and the live tables, from the beginning of the log."""
    live = settings.model_copy(update={"live_tables_group": f"{settings.consumer_group}-live"})
    first, second = a_request(), a_request()
    for event in (first, second):
        await produced_in_a_transaction(settings, [event])
    async with running(run_agents, live), running(run_live_tables, live):
        for event in (first, second):
            await eventually(partial(state_of, pool, event.generation_id))
        await eventually(partial(_in_flight, live, {str(first.generation_id), str(second.generation_id)}))


async def _in_flight(settings: Settings, wanted: set[str]) -> bool:
    try:
        return (await read_changelog(settings, "in_flight")).keys() == wanted
    except PermanentError:  # not made yet
        return False
