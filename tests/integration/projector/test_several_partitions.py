"""Several partitions in one transaction: each exactly once, and none affected by another."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import pytest

from gengui_stream.errors import FencedError, TransientError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projecting.batches import RecordBatch
from gengui_stream.projecting.partition_queues import PartitionQueues
from gengui_stream.projecting.progress import pauses
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Applied, DeadLettered, Ignored
from gengui_stream.settings import Settings
from tests.events import FakeRecord, wide_history
from tests.integration.projector.interrupting import cut_off, killed, stopped_at
from tests.integration.projector.projections import TABLES, TOPIC, a_log, contents
from tests.integration.running import a_request, eventually, state_of
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

Logs = Mapping[int, Sequence[FakeRecord]]

PARTITIONS: Final = (0, 1, 2)


def three_logs() -> dict[int, list[FakeRecord]]:
    """Of different length, about different generations, with an invalid record in one of them."""
    logs = {
        partition: a_log(*(wide_history(10 * partition + number) for number in range(partition + 1)))
        for partition in PARTITIONS
    }
    broken = logs[1][4]
    logs[1][4] = FakeRecord(broken.offset, broken.timestamp, broken.key, b"{invalid")
    return logs


def ends(logs: Logs) -> list[int]:
    return [len(records) for records in logs.values()]


async def claimed(pool: Pool, partitions: Sequence[int] = PARTITIONS) -> Projector:
    projector = Projector(pool, TOPIC, TIMINGS)
    await projector.claim(partitions, dict.fromkeys(partitions, 0))
    return projector


async def offsets(pool: Pool) -> list[int]:
    return [row[0] for row in await pool.fetch("SELECT next_offset FROM projections.checkpoints ORDER BY partition")]


async def separately(pool: Pool, logs: Logs) -> dict[str, object]:
    """The result of one partition after the other, record by record; then removed again."""
    plain = await claimed(pool)
    for partition, records in logs.items():
        for record in records:
            await plain.project(partition, [record])
    expected = await contents(pool)
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}, jobs.jobs, projections.checkpoints")
    return expected


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_together_they_give_the_same_rows(emptied: Pool, size: int) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    both = await claimed(emptied)
    for first in range(0, max(ends(logs)), size):
        some = {partition: records[first : first + size] for partition, records in logs.items()}
        done = await both.project_all(some)
        assert [batch.partition for batch in done] == list(PARTITIONS)
        assert [batch.next_offset for batch in done] == [min(first + size, end) for end in ends(logs)]
    assert await contents(emptied) == expected


async def test_it_is_one_transaction(emptied: Pool) -> None:
    await (await claimed(emptied)).project_all(three_logs())
    transactions = "SELECT count(DISTINCT xmin::text) FROM {}"
    assert await emptied.fetchval(transactions.format("projections.checkpoints")) == 1
    assert await emptied.fetchval(transactions.format("projections.timeline")) == 1


async def test_what_comes_again_is_left_out_whichever_partition_it_is_of(emptied: Pool) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    both = await claimed(emptied)
    await both.project_all({0: logs[0], 1: logs[1][:3]})
    done = await both.project_all(logs)
    assert [batch.next_offset for batch in done] == ends(logs)
    assert [len(batch.outcomes) for batch in done] == [0, len(logs[1]) - 3, len(logs[2])]
    assert await contents(emptied) == expected
    assert [batch.outcomes for batch in await both.project_all(logs)] == [(), (), ()]
    assert await contents(emptied) == expected


async def test_one_that_is_fenced_moves_none(emptied: Pool) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    old = await claimed(emptied)
    new = await claimed(emptied, [1])
    with pytest.raises(FencedError, match=r"partition 1 of any\.topic has another owner"):
        await old.project_all(logs)
    assert await offsets(emptied) == [0, 0, 0]
    assert await emptied.fetchval("SELECT count(*) FROM projections.timeline") == 0
    await new.project(1, logs[1])
    await old.project_all({0: logs[0], 2: logs[2]})
    assert await contents(emptied) == expected


# what the database refuses


async def test_a_refused_value_costs_its_own_record_alone(refusing: Pool) -> None:
    good, refused, other = a_request(), a_request(prompt="refused"), a_request()
    both = await claimed(refusing, [0, 1])
    first, second = await both.project_all({0: a_log([good, refused]), 1: a_log([other])})
    assert [type(outcome) for outcome in first.outcomes] == [Applied, DeadLettered]
    assert [type(outcome) for outcome in second.outcomes] == [Applied]
    assert await offsets(refusing) == [2, 1]
    assert [row[0] for row in await refusing.fetch("SELECT generation_id FROM projections.dead_letters")] == [
        refused.generation_id
    ]
    assert await state_of(refusing, other.generation_id)


async def test_partitions_that_speak_of_one_generation_stop_nothing(emptied: Pool) -> None:
    """A producer with another partitioner: the partition that commits first owns the generation."""
    history = wide_history(0)
    both = await claimed(emptied, [0, 1])
    batches = await both.project_all({0: a_log(history[:3]), 1: a_log(history[:2])})
    assert [batch.next_offset for batch in batches] == [3, 2]
    assert await offsets(emptied) == [3, 2]
    row = await emptied.fetchrow("SELECT partition FROM projections.generation_states")
    assert row is not None
    assert row["partition"] == 0


async def test_a_generation_of_another_partition_is_not_seen(emptied: Pool) -> None:
    history = wide_history(0)
    both = await claimed(emptied, [0, 1])
    await both.project_all({0: a_log(history[:1]), 1: a_log(wide_history(1)[:1])})
    own, foreign = await both.project_all({0: a_log(history[1:2], first=1), 1: a_log(history[2:3], first=1)})
    assert [type(outcome) for outcome in (*own.outcomes, *foreign.outcomes)] == [Applied, Ignored]


# the connection


async def test_a_connection_killed_before_the_commit_leaves_nothing(database: Settings, emptied: Pool) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    async with opened_pool(database) as its_own:
        shaken = await claimed(its_own)
        await killed(emptied, "projections.timeline", shaken.project_all(logs))
        assert await offsets(emptied) == [0, 0, 0]
        await shaken.project_all(logs)
    assert await contents(emptied) == expected


@pytest.mark.parametrize("made", [True, False], ids=["it was made", "it was not made"])
async def test_a_commit_without_an_answer_counts_once(database: Settings, emptied: Pool, made: bool) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    async with cut_off(database, TOPIC.encode(), made=made) as (proxy, its_own):
        shaken = await claimed(its_own)
        proxy.armed = True
        with pytest.raises(TransientError):
            await shaken.project_all(logs)
        assert await offsets(emptied) == (ends(logs) if made else [0, 0, 0])
        done = await shaken.project_all(logs)
        assert [len(batch.outcomes) for batch in done] == ([0, 0, 0] if made else ends(logs))
    assert await contents(emptied) == expected


# the queues in front of it


class Told:
    """The committed offsets, by partition."""

    def __init__(self) -> None:
        self.batches: list[ProjectedBatch] = []

    def __call__(self, batch: ProjectedBatch, seconds: float) -> None:
        self.batches.append(batch)

    def offsets(self) -> dict[int, int]:
        return {batch.partition: batch.next_offset for batch in self.batches}


def chunks(logs: Logs, size: int) -> list[tuple[int, Sequence[FakeRecord]]]:
    """Fetches of a few records each of every partition that still has some."""
    return [
        (partition, records[first : first + size])
        for first in range(0, max(ends(logs)), size)
        for partition, records in logs.items()
        if records[first : first + size]
    ]


async def empty_log(partitions: Collection[int]) -> Mapping[int, int]:
    """At the time of the claim: the records come later."""
    return dict.fromkeys(partitions, 0)


@pytest.mark.parametrize("more_in_fetch", [True, False])
@pytest.mark.parametrize("batch_max", [1, 5, 1000])
async def test_queues_project_all_that_is_submitted(emptied: Pool, batch_max: int, more_in_fetch: bool) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    told, stop = Told(), asyncio.Event()
    queues = PartitionQueues(Projector(emptied, TOPIC, TIMINGS), told, empty_log, batch_max, stop)
    async with asyncio.timeout(60), queues.open():
        await queues.assigned(PARTITIONS)
        given = chunks(logs, 4)
        for partition, records in given:
            more = more_in_fetch and records is not given[-1][1]
            await queues.submit(RecordBatch(queues.epoch, partition, records, more_in_fetch=more))
        await queues.until_idle()
    assert told.offsets() == dict(zip(PARTITIONS, ends(logs), strict=True))
    assert await contents(emptied) == expected


async def test_stale_queues_discard_their_records_and_its_next_owner_reads_it_again(
    database: Settings, emptied: Pool
) -> None:
    logs = three_logs()
    expected = await separately(emptied, logs)
    told = Told()
    queues = PartitionQueues(Projector(emptied, TOPIC, TIMINGS), told, empty_log, 5, asyncio.Event())
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'projections.timeline'::regclass"
    async with asyncio.timeout(60), queues.open():
        await queues.assigned(PARTITIONS)
        async with stopped_at(emptied, "projections.timeline"):
            for partition, records in logs.items():
                await queues.submit(RecordBatch(queues.epoch, partition, records[:4]))
            await eventually(lambda: emptied.fetchval(waits))
            queues.revoked()
        starts = await queues.assigned(PARTITIONS)
        assert starts == {partition: told.offsets().get(partition, 0) for partition in PARTITIONS}
        assert 0 < sum(starts.values()) < 12
        await queues.submit(RecordBatch(queues.epoch - 1, 0, logs[0]))
        assert queues.oldest(0) is None
        for partition, start in starts.items():
            for record in logs[partition][start:]:
                await queues.submit(RecordBatch(queues.epoch, partition, [record]))
        await queues.until_idle()
    assert told.offsets() == dict(zip(PARTITIONS, ends(logs), strict=True))
    assert await contents(emptied) == expected


async def test_a_partition_is_resumed_once_its_last_transaction_has_ended(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its checkpoint could be read before the commit, and its owner go on there after it."""
    monkeypatch.setattr(pauses, "READ_EVERY_S", 0.01)
    records, told, paused, reads = three_logs()[0], Told(), set[int](), 0

    async def ordered() -> Collection[int]:
        nonlocal reads
        reads += 1
        return tuple(paused)

    async def read_again() -> bool:
        return reads > before + 2

    async def goes_on() -> bool:
        return not queues.paused

    queues = PartitionQueues(Projector(emptied, TOPIC, TIMINGS), told, empty_log, 5, asyncio.Event(), pauses=ordered)
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'projections.timeline'::regclass"
    async with asyncio.timeout(60), queues.open():
        await queues.assigned([0])
        async with stopped_at(emptied, "projections.timeline"):
            await queues.submit(RecordBatch(queues.epoch, 0, records[:4]))
            await eventually(lambda: emptied.fetchval(waits))
            for change in (paused.add, paused.discard):
                change(0)
                before = reads
                await eventually(read_again)
                assert queues.paused == {0}
        await eventually(goes_on)
        await queues.submit(RecordBatch(queues.epoch, 0, records[4:]))
        await queues.until_idle()
    assert told.offsets() == {0: len(records)}
