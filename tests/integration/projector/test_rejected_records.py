"""What the projector does with records that cannot be folded or stored."""

from uuid import UUID

import asyncpg
import pytest

from gengui_stream.errors import DeadLetterFloodError
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.dead_letter_limits import DeadLetterLimits
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import PARKED, Applied, DeadLettered, Ignored
from tests.events import (
    FakeRecord,
    record_of,
    wide_history,
)
from tests.integration.projector.projections import TOPIC, a_log, a_projector, three_generations
from tests.integration.running import a_request, state_of
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


def raw(generation_id: UUID, offset: int, value: bytes) -> FakeRecord:
    return FakeRecord(offset, 1_780_000_000_000, str(generation_id).encode(), value)


async def test_events_behind_a_dead_letter_wait_and_others_do_not(emptied: Pool) -> None:
    stuck, free = wide_history(0), wide_history(1)
    events = [*stuck[:2], *free[:4], *stuck[2:4]]
    records = a_log(events)
    records.insert(2, raw(stuck[0].generation_id, 2, b"{invalid"))
    records = [FakeRecord(place, r.timestamp, r.key, r.value) for place, r in enumerate(records)]
    first = await a_projector(emptied)
    await first.project(0, records[:5])
    batch = await first.project(0, records[5:])
    assert [type(outcome) for outcome in batch.outcomes] == [Applied, Applied, DeadLettered, DeadLettered]
    assert [outcome.reason for outcome in batch.outcomes if isinstance(outcome, DeadLettered)] == [PARKED, PARKED]
    state = await state_of(emptied, stuck[0].generation_id)
    assert state is not None
    assert state.version == 2
    [position] = await emptied.fetch("SELECT * FROM projections.checkpoints")
    assert (position["applied"], position["ignored"], position["dead_lettered"]) == (6, 0, 3)


async def test_a_new_owner_knows_what_is_parked(emptied: Pool) -> None:
    history = wide_history(0)
    records = a_log(history[:1])
    records.append(raw(history[0].generation_id, 1, b""))
    await (await a_projector(emptied)).project(0, records)
    batch = await (await a_projector(emptied)).project(0, [record_of(history[1], 2)])
    [outcome] = batch.outcomes
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason == PARKED


async def test_a_value_that_the_database_refuses_costs_its_own_record_alone(refusing: Pool) -> None:
    good, other, refused = a_request(), a_request(), a_request(prompt="refused")
    behind = wide_history(0)[1].model_copy(
        update={"generation_id": refused.generation_id, "occurred_at": refused.occurred_at}
    )
    records = a_log([good, refused, behind, other])
    isolating = await a_projector(refusing)
    batch = await isolating.project(0, records)
    assert [type(outcome) for outcome in batch.outcomes] == [Applied, DeadLettered, DeadLettered, Applied]
    reasons = [
        (outcome.reason, outcome.generation_id) for outcome in batch.outcomes if isinstance(outcome, DeadLettered)
    ]
    assert reasons == [("refused_by_database", refused.generation_id), (PARKED, refused.generation_id)]
    assert (batch.next_offset, batch.tally.applied, batch.tally.dead_lettered) == (4, 2, 2)
    [row] = await refusing.fetch("SELECT * FROM projections.checkpoints")
    assert (row["next_offset"], row["applied"], row["dead_lettered"]) == (4, 2, 2)
    assert await state_of(refusing, refused.generation_id) is None
    await isolating.project(0, [record_of(a_request(), 4)])
    assert await refusing.fetchval("SELECT next_offset FROM projections.checkpoints") == 5


async def test_a_row_that_this_version_cannot_read_ends_the_process(emptied: Pool) -> None:
    """A later version wrote it: no record is at fault, and none becomes a dead letter."""
    history = wide_history(0)
    await (await a_projector(emptied)).project(0, a_log(history[:1]))
    await emptied.execute("UPDATE projections.generation_states SET status = 'archived'")
    with pytest.raises(ValueError, match="archived"):
        await (await a_projector(emptied)).project(0, a_log(history[1:], first=1))
    assert await emptied.fetchval("SELECT count(*) FROM projections.dead_letters") == 0
    assert await emptied.fetchval("SELECT next_offset FROM projections.checkpoints") == 1


async def test_a_schema_that_lacks_a_column_ends_the_process(emptied: Pool) -> None:
    records = three_generations()
    await emptied.execute("ALTER TABLE projections.timeline RENAME COLUMN payload TO later_payload")
    try:
        with pytest.raises(asyncpg.UndefinedColumnError):
            await (await a_projector(emptied)).project(0, records)
    finally:
        await emptied.execute("ALTER TABLE projections.timeline RENAME COLUMN later_payload TO payload")
    assert await emptied.fetchval("SELECT next_offset FROM projections.checkpoints") == 0


async def test_one_rejected_record_of_many_is_found_in_few_transactions(refusing: Pool) -> None:
    requested = [a_request(prompt="refused" if number == 77 else "fine") for number in range(200)]
    before = await refusing.fetchval("SELECT txid_current()")
    batch = await (await a_projector(refusing)).project(0, a_log(requested))
    assert [outcome.record.offset for outcome in batch.outcomes] == list(range(200))
    assert [o.record.offset for o in batch.outcomes if isinstance(o, DeadLettered)] == [77]
    assert await refusing.fetchval("SELECT txid_current()") - before < 40


async def test_a_flood_of_dead_letters_ends_the_process_also_after_a_restart(emptied: Pool) -> None:
    rubbish = [FakeRecord(offset, 1_780_000_000_000, b"key", b"{") for offset in range(5)]
    limited = Projector(emptied, TOPIC, TIMINGS, limits=DeadLetterLimits(max_consecutive=3))
    await limited.claim([0], {0: 0})
    await limited.project(0, rubbish[:2])
    with pytest.raises(DeadLetterFloodError, match="3 consecutive records"):
        await limited.project(0, rubbish[2:3])
    assert await emptied.fetchval("SELECT next_offset FROM projections.checkpoints") == 2
    again = Projector(emptied, TOPIC, TIMINGS, limits=DeadLetterLimits(max_consecutive=3))
    await again.claim([0], {0: 0})
    with pytest.raises(DeadLetterFloodError, match="3 consecutive records"):
        await again.project(0, rubbish[2:3])
    raised = Projector(emptied, TOPIC, TIMINGS, limits=DeadLetterLimits(max_consecutive=10))
    await raised.claim([0], {0: 0})
    assert (await raised.project(0, rubbish[2:])).tally.dead_lettered == 3


@pytest.mark.parametrize("deadline", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_moment_beyond_the_calendar_of_utc_stops_nothing(emptied: Pool, deadline: str) -> None:
    """It is a moment to the reader, and to no database."""
    odd, good = a_request(deadline=deadline), a_request()
    batch = await (await a_projector(emptied)).project(0, a_log([odd, good]))
    assert batch.next_offset == 2
    assert await state_of(emptied, good.generation_id)


async def test_an_event_on_another_partition_than_its_generation_changes_nothing(emptied: Pool) -> None:
    """A producer with another partitioner than ours: what it says must not depend on which partition is faster."""
    history = wide_history(0)
    both = Projector(emptied, TOPIC, TIMINGS)
    await both.claim([0, 1], {0: 0, 1: 0})
    await both.project(0, a_log(history[:1]))
    [outcome] = (await both.project(1, a_log(history[1:2]))).outcomes
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "not_requested"


async def test_the_same_offset_on_another_partition_is_another_record(emptied: Pool) -> None:
    history = wide_history(0)
    both = Projector(emptied, TOPIC, TIMINGS)
    await both.claim([0, 1], {0: 0, 1: 0})
    await both.project(1, a_log(history[1:2]))
    [outcome] = (await both.project(0, a_log(history[:1]))).outcomes
    assert isinstance(outcome, Applied)


async def test_records_without_a_generation_are_kept(emptied: Pool) -> None:
    """With a time in the future and a foreign key: counted, and in no timeline."""
    future = FakeRecord(0, 1_780_000_000_000, b"key", b'{"type": "future.thing"}')
    batch = await (await a_projector(emptied)).project(0, [future])
    assert (batch.tally.ignored, batch.next_offset) == (1, 1)
    assert await emptied.fetchval("SELECT count(*) FROM projections.timeline") == 0
