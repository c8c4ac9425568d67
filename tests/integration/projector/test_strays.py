"""Records that another client's partitioner put on a wrong partition: forwarded once, and harmless when twice."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agents.run import run_agents
from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import TransientError
from gengui_stream.log.codec import KeyedRecord, encode_key, encode_value
from gengui_stream.log.event_log import EventLog, Forwarding
from gengui_stream.log.partitions import partition_of
from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import Projector
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import EVENTS_A_GENERATION, wide_history
from tests.integration.log.foreign_clients import produced, produced_by_kcat
from tests.integration.log.logs import everything, send_to
from tests.integration.projector.projecting import project_everything
from tests.integration.running import eventually, running, state_of
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

GENERATIONS = 8


def histories() -> list[list[Event]]:
    start = datetime.now(UTC) - timedelta(minutes=1)
    return [wide_history(number, start=start) for number in range(GENERATIONS)]


async def produced_by_confluent(settings: Settings, events: Sequence[Event]) -> None:
    await asyncio.to_thread(produced, settings, events, {})


async def strays(settings: Settings) -> list[tuple[int, int]]:
    return [
        (record.partition, record.offset)
        for record in await everything(settings)
        if record.key and partition_of(record.key, settings.events_partitions) != record.partition
    ]


async def completed(pool: Pool, events: Sequence[Sequence[Event]]) -> bool:
    states = [await state_of(pool, history[0].generation_id) for history in events]
    return all(state is not None and state.status is Status.COMPLETED for state in states)


@pytest.mark.parametrize("produce", [produced_by_confluent, produced_by_kcat], ids=["confluent-kafka", "kcat"])
async def test_events_from_another_clients_partitioner_are_applied(
    settings: Settings, pool: Pool, produce: Callable[[Settings, Sequence[Event]], Awaitable[None]]
) -> None:
    """CRC-32 of the key is the default of librdkafka, on which most clients but Java's are built."""
    told = histories()
    await produce(settings, [event for step in zip(*told, strict=True) for event in step])
    for record in await everything(settings):
        assert record.partition == zlib.crc32(record.key or b"") % settings.events_partitions
    misplaced = await strays(settings)
    assert misplaced
    metrics = new_metrics()
    async with running(run_agents, settings, metrics):
        await eventually(lambda: completed(pool, told))
    assert metrics.registry.get_sample_value("gengui_events_forwarded_total") == len(misplaced)
    assert len(await everything(settings)) == GENERATIONS * EVENTS_A_GENERATION + len(misplaced)
    rows = await pool.fetch(
        "SELECT partition, log_offset FROM projections.timeline WHERE ignored = 'wrong_partition' ORDER BY 1, 2"
    )
    assert list(map(tuple, rows)) == sorted(misplaced)
    assert await pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'dispatch'") == 0, "all have ended"
    report = await verify(settings)
    assert report.agrees, report.samples


class Interrupted(EventLog):
    """Forwards, and loses the broker's answer once."""

    answered = False

    async def forward(self, records: Sequence[KeyedRecord]) -> None:
        await super().forward(records)
        if not self.answered:
            self.answered = True
            raise TransientError("the answer was lost")


async def test_a_record_that_is_forwarded_twice_counts_once(settings: Settings, pool: Pool) -> None:
    [history, *_] = histories()
    home = partition_of(encode_key(history[0]), settings.events_partitions)
    away = (home + 1) % settings.events_partitions
    for event in history:
        await send_to(settings, away, encode_key(event), encode_value(event))
    async with Interrupted(settings) as log:
        forwarding = Forwarding(log, settings.events_partitions)
        projector = Projector(pool, settings.events_topic, TIMINGS, forwarding=forwarding)
        await projector.claim([home, away], {home: 0, away: 0})
        records = [record for record in await everything(settings) if record.partition == away]
        with pytest.raises(TransientError):
            await projector.project(away, records)
        assert (await projector.project(away, records)).tally.ignored == EVENTS_A_GENERATION
    await project_everything(settings, pool)
    assert len(await everything(settings)) == 3 * EVENTS_A_GENERATION
    state = await state_of(pool, history[0].generation_id)
    assert state is not None
    assert (state.status, state.version, state.attempt) == (Status.COMPLETED, EVENTS_A_GENERATION, 1)
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_a_stray_that_cannot_be_decoded_is_a_dead_letter_of_the_right_partition(
    settings: Settings, pool: Pool
) -> None:
    """It parks the later events of its generation there."""
    [history, *_] = histories()
    key = encode_key(history[0])
    home = partition_of(key, settings.events_partitions)
    away = (home + 1) % settings.events_partitions
    ancient = history[0].model_copy(update={"occurred_at": datetime.fromisoformat("0001-01-01T00:00:00+23:59")})
    await send_to(settings, away, key, encode_value(ancient))
    await send_to(settings, away, key, b"{")
    await project_everything(settings, pool)
    await project_everything(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM projections.timeline WHERE occurred_at IS NOT NULL") == 0
    rows = await pool.fetch("SELECT partition, reason, generation_id FROM projections.dead_letters")
    assert list(map(tuple, rows)) == [(home, "not_json", history[0].generation_id)]
    report = await verify(settings)
    assert report.agrees, report.samples
