"""The projector against PostgreSQL: batches, owners, gaps, and records that cannot be folded."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from gengui_stream.domain.generation.jobs import due_jobs
from gengui_stream.domain.generation.state import Generation
from gengui_stream.domain.identifiers import uuid7
from gengui_stream.errors import BugError, FencedError
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting import checkpoints, owned_partition
from gengui_stream.projecting.live_partitions import sweep
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections import daily_counts, generation_states, partition_owners
from gengui_stream.projections.outcomes import Ignored, Tally
from schemas.events import (
    Event,
    Failure,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationRetried,
)
from tests.events import (
    FakeRecord,
    ending_events,
    requests,
    running_events,
    wide_history,
)
from tests.integration.projector.projections import TOPIC, a_log, a_projector, contents, plainly, three_generations
from tests.integration.running import a_request
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


VOUCHED = "SELECT valid_until > now() FROM jobs.partition_owners WHERE partition = 0"


@pytest.mark.parametrize("size", [7, 1_000])
async def test_batches_of_any_size_give_the_same_rows(emptied: Pool, size: int) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    batched = await a_projector(emptied)
    for start in range(0, len(records), size):
        await batched.project(0, records[start : start + size])
    assert await contents(emptied) == expected
    assert expected["at"] == [(len(records), len(records), 0, 0)]


async def test_an_event_that_came_too_early_is_recognised_by_a_later_owner(emptied: Pool) -> None:
    """Before its request, and before its attempt: the timeline and the state keep the ids."""
    history = [event.model_copy(update={"id": new_id()}) for event in wide_history(0)]
    request, dispatched, started = history[:3]
    next_attempt = started.model_copy(update={"id": new_id(), "attempt": 2})
    log = a_log([dispatched, request, next_attempt, dispatched, *history[2:], next_attempt])
    reasons: list[str] = []
    for record in log:
        outcomes = (await (await a_projector(emptied)).project(0, [record])).outcomes
        reasons += [outcome.reason for outcome in outcomes if isinstance(outcome, Ignored)]
    assert reasons == ["not_requested", "unknown_attempt", "duplicate", "duplicate"]


async def test_records_that_come_again_are_left_out(emptied: Pool) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    again = await a_projector(emptied)
    await again.project(0, records[:20])
    assert (await again.project(0, records[:20])).outcomes == ()
    overlapping = await again.project(0, records[10:])
    assert [outcome.record.offset for outcome in overlapping.outcomes] == list(range(20, len(records)))
    assert await contents(emptied) == expected


async def test_nothing_is_forgotten_that_a_later_event_needs(emptied: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    monkeypatch.setattr(owned_partition, "CACHED_STATES", 1)
    forgetful = await a_projector(emptied)
    for start in range(0, len(records), 4):
        await forgetful.project(0, records[start : start + 4])
    assert await contents(emptied) == expected


async def test_a_partition_that_catches_up_makes_no_job_and_then_those_of_its_states(emptied: Pool) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    behind = await a_projector(emptied, log_end=len(records))
    await behind.project(0, records[:-1])
    assert await emptied.fetchval("SELECT count(*) FROM jobs.jobs") == 0
    assert not await emptied.fetchval(VOUCHED)
    await behind.project(0, records[-1:])
    assert await emptied.fetchval(VOUCHED)
    due = {job.key for state in (await states(emptied)).values() for job in due_jobs(state, TIMINGS)}
    made = {row["job_key"] for row in await emptied.fetch("SELECT job_key FROM jobs.jobs")}
    assert made == due
    assert {**await contents(emptied), "jobs": None} == {**expected, "jobs": None}


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [
        ((GenerationDispatched,), (GenerationCancelRequested,)),
        ((GenerationDispatched,), (GenerationRetried, GenerationDispatched)),
        ((GenerationDispatched,), (GenerationCompleted,)),
        ((GenerationDispatched, GenerationCompleted), (GenerationDeleted,)),
        ((GenerationDispatched,), (GenerationCancelRequested, GenerationCanceled)),
        ((), (GenerationCancelRequested,)),
    ],
    ids=["cancel", "reconcile", "thumbnail", "deletion", "ended", "ended-queued"],
)
async def test_what_changed_while_it_caught_up_is_in_the_jobs_afterwards(
    emptied: Pool, before: Sequence[type[Event]], meanwhile: Sequence[type[Event]]
) -> None:
    """An earlier owner made jobs of the states as they were."""
    request = requests()[-1].model_copy(update={"deadline": datetime.now(UTC) + timedelta(hours=1)})
    known = {type(event): event for event in (*ending_events(), *running_events())}
    chosen = [known[kind].model_copy(update={"id": new_id()}) for kind in (*before, *meanwhile)]
    records = a_log([request, *chosen])
    await (await a_projector(emptied)).project(0, records[: 1 + len(before)])
    behind = await a_projector(emptied, log_end=len(records))
    await behind.project(0, records[1 + len(before) :])
    due = {job.key for state in (await states(emptied)).values() for job in due_jobs(state, TIMINGS)}
    rows = await emptied.fetch("SELECT job_key, available_at > now() AS later FROM jobs.jobs")
    made = {row["job_key"]: row["later"] for row in rows}
    assert due <= made.keys()
    assert not [key for key, later in made.items() if later and key not in due], "is reconciled at once, and removed"


async def test_an_attempt_that_was_dispatched_before_the_catch_up_is_reconciled_after_its_first_silence(
    emptied: Pool,
) -> None:
    """The job exists since the request, and is due at the deadline."""
    request, announced = a_log(wide_history(0, start=datetime.now(UTC))[:2])
    due = "SELECT available_at < now() + interval '3 minutes' FROM jobs.jobs WHERE kind = 'reconcile'"
    await (await a_projector(emptied)).project(0, [request])
    assert not await emptied.fetchval(due)
    await (await a_projector(emptied, log_end=2)).project(0, [announced])
    assert await emptied.fetchval(due)


async def test_an_emptied_jobs_table_heals(emptied: Pool) -> None:
    owner = await a_projector(emptied)
    await owner.project(0, three_generations()[:-6])
    due = {job.key for state in (await states(emptied)).values() for job in due_jobs(state, TIMINGS)}
    assert due
    await emptied.execute("DELETE FROM jobs.jobs")
    assert await sweep(emptied, owner.live(), TIMINGS) == len(due)
    assert {row["job_key"] for row in await emptied.fetch("SELECT job_key FROM jobs.jobs")} == due
    assert await sweep(emptied, owner.live(), TIMINGS) == 0


async def test_a_later_owner_withdraws_what_an_earlier_one_vouched_for(emptied: Pool) -> None:
    early = await a_projector(emptied)
    assert await emptied.fetchval(VOUCHED)
    later = await a_projector(emptied, log_end=1)
    assert not await emptied.fetchval(VOUCHED)
    await partition_owners.vouch(emptied, early.live())
    assert not await emptied.fetchval(VOUCHED), "it owns the partition no more"
    await later.project(0, three_generations()[:1])
    assert await emptied.fetchval(VOUCHED)


async def states(pool: Pool) -> dict[UUID, Generation]:
    ids = [row["generation_id"] for row in await pool.fetch("SELECT generation_id FROM projections.generation_states")]
    return await generation_states.load(pool, ids)


def anything(source: random.Random) -> list[FakeRecord]:
    """Three generations' events in any order, some before their request, some repeated, some of them unreadable."""
    ids = [uuid7(1_780_000_000_000, source.randbytes(10)) for _ in range(3)]
    chosen: list[Event] = [requests(each)[0] for each in ids]
    choice = [*requests(), *running_events(), *ending_events()]
    chosen += [event.model_copy(update={"generation_id": source.choice(ids)}) for event in source.choices(choice, k=60)]
    source.shuffle(chosen)
    attempts = (None, None, 1, 2)
    named = [event.model_copy(update={"id": new_id(), "attempt": source.choice(attempts)}) for event in chosen]
    records = a_log([*named, *source.choices(named, k=20)])
    broken = {source.randrange(3, len(records)) for _ in range(2)}
    return [replace(record, value=b"{") if record.offset in broken else record for record in records]


@pytest.mark.parametrize("seed", range(5))
async def test_any_log_cut_anywhere_by_any_owners_gives_the_same_rows(emptied: Pool, seed: int) -> None:
    source = random.Random(seed)
    records = anything(source)
    expected = await plainly(emptied, records)
    owner, done = await a_projector(emptied), 0
    while done < len(records):
        if source.random() < 0.3:
            owner = await a_projector(emptied)
        done = (await owner.project(0, records[max(0, done - 3) : done + source.randrange(1, 20)])).next_offset
    assert await contents(emptied) == expected


async def test_a_new_owner_fences_the_old_one(emptied: Pool) -> None:
    records = three_generations()
    expected = await plainly(emptied, records)
    old = await a_projector(emptied)
    await old.project(0, records[:10])
    new = Projector(emptied, TOPIC, TIMINGS)
    assert await new.claim([0], {0: 0}) == {0: 10}
    with pytest.raises(FencedError):
        await old.project(0, records[10:])
    assert await emptied.fetchval("SELECT count(*) FROM projections.timeline") == 10
    await new.project(0, records[10:])
    with pytest.raises(FencedError):
        await old.project(0, records[10:])
    assert await contents(emptied) == expected


async def test_two_owners_of_one_claim_cannot_both_commit(emptied: Pool) -> None:
    held = (await checkpoints.claim(emptied, TOPIC, [0]))[0]

    async def advance() -> None:
        async with emptied.acquire() as connection:
            await checkpoints.commit(connection, TOPIC, [checkpoints.Move(held, 5, Tally(applied=5))], writes=())

    outcomes = await asyncio.gather(*(advance() for _ in range(5)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FencedError"] * 4 + ["NoneType"]
    assert await emptied.fetchval("SELECT applied FROM projections.checkpoints") == 5


async def test_of_two_owners_the_rows_of_one_alone_are_written(emptied: Pool) -> None:
    held = (await checkpoints.claim(emptied, TOPIC, [0]))[0]

    async def commit(owner: int) -> None:
        counts = Counter({(UUID(int=owner), date(2026, 6, 1), "requested"): 1})
        writes = [daily_counts.write(daily_counts.rows_of(counts, 0))]
        async with emptied.acquire() as connection:
            await checkpoints.commit(connection, TOPIC, [checkpoints.Move(held, 1, Tally(applied=1))], writes=writes)

    outcomes = await asyncio.gather(*map(commit, range(5)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FencedError"] * 4 + ["NoneType"]
    [winner] = [owner for owner, outcome in enumerate(outcomes) if outcome is None]
    assert [row["owner_id"].int for row in await emptied.fetch("SELECT owner_id FROM projections.daily_counts")] == [
        winner
    ]


async def test_what_is_not_claimed_is_not_projected(emptied: Pool) -> None:
    with pytest.raises(FencedError, match="not claimed"):
        await Projector(emptied, TOPIC, TIMINGS).project(0, three_generations())


@pytest.mark.parametrize(
    "chosen", [slice(1, None), slice(0, None, 2)], ids=["the first is missing", "some in the middle are missing"]
)
async def test_missing_records_stop_it(emptied: Pool, chosen: slice) -> None:
    stopped = await a_projector(emptied)
    with pytest.raises(BugError, match="part of the log is gone"):
        await stopped.project(0, three_generations()[chosen])
    assert await emptied.fetchval("SELECT next_offset FROM projections.checkpoints") == 0
    assert await emptied.fetchval("SELECT count(*) FROM projections.timeline") == 0


async def test_a_pause_that_a_provider_asks_for_ends_at_the_deadline(emptied: Pool) -> None:
    """The next attempt is due then, and times out."""
    deadline = datetime.now(UTC) + timedelta(seconds=600)
    request = a_request(deadline=deadline)
    common = {"id": new_id(), "generation_id": request.generation_id, "producer": "test", "attempt": 1}
    error = Failure(code="rate_limited", message="come back tomorrow", retryable=True, retry_after_s=86_000)
    failed = GenerationFailed.model_validate({**common, "occurred_at": datetime.now(UTC), "error": error})
    await (await a_projector(emptied)).project(0, a_log([request, failed]))
    due = await emptied.fetchval("SELECT available_at FROM jobs.jobs WHERE kind = 'dispatch' AND attempt = 2")
    assert due == deadline
