"""Dead letters: listed, retried and discarded; the events parked behind them follow in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from gengui_stream.domain.generation.state import Status
from gengui_stream.errors import FencedError, PermanentError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Applied, DeadLettered
from gengui_stream.recovery.dead_letters import bulk
from gengui_stream.recovery.dead_letters.bulk import BulkOrder, BulkResolution, Progress, ResolveOn, resolve_all
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.dead_letters.letters import DeadLetter, discard, discard_on, find, retry, retry_on
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import record_of, wide_history
from tests.integration.log.logs import send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import TOPIC, a_log, a_projector
from tests.integration.running import a_request, state_of
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

FIRST = Position(0, 2)


def refusing(name: str, percent: int) -> str:
    return (
        f"""ALTER TABLE projections.timeline ADD CONSTRAINT {name} CHECK (payload NOT LIKE '%"percent":{percent}.0%')"""
    )


@pytest_asyncio.fixture
async def picky(emptied: Pool) -> AsyncIterator[Pool]:
    """Refuses progress of ten percent, in place of any error of a value."""
    await emptied.execute(refusing("picky", 10))
    yield emptied
    await emptied.execute("ALTER TABLE projections.timeline DROP CONSTRAINT IF EXISTS picky")


async def relent(pool: Pool) -> None:
    await pool.execute("ALTER TABLE projections.timeline DROP CONSTRAINT picky")


async def stuck(pool: Pool) -> Sequence[Event]:
    """A history whose fourth event is refused, so that six are parked behind it; and one of another generation."""
    history = wide_history(0)
    projector = await a_projector(pool)
    await projector.project(0, a_log(history, wide_history(1)[:1]))
    return history


REFUSED = Position(0, 3)


async def letters(pool: Pool, *, resolved: bool = False, parked: bool = True) -> list[DeadLetter]:
    return await listed(pool, TOPIC, LetterFilter(resolved=resolved, parked=parked), limit=100)


async def counts(pool: Pool) -> tuple[int, int, int, int]:
    row = await pool.fetchrow("SELECT next_offset, applied, ignored, dead_lettered FROM projections.checkpoints")
    assert row is not None
    assert row["applied"] + row["ignored"] + row["dead_lettered"] == row["next_offset"]
    return tuple(row)


async def test_they_are_listed_in_order_with_or_without_parked_events(picky: Pool) -> None:
    history = await stuck(picky)
    assert [letter.position for letter in await letters(picky, parked=False)] == [REFUSED]
    found = await letters(picky)
    assert [letter.offset for letter in found] == list(range(3, 10))
    assert [letter.reason for letter in found] == ["refused_by_database", *["parked"] * 6]
    assert {letter.generation_id for letter in found} == {history[0].generation_id}
    assert await listed(picky, TOPIC, LetterFilter(resolved=True, parked=True), limit=2) == found[:2]
    assert await listed(picky, "another", LetterFilter(resolved=True, parked=True), limit=9) == []
    assert await find(picky, TOPIC, REFUSED) == found[0]


async def test_retry_folds_it_and_what_waited_in_order(picky: Pool) -> None:
    history = await stuck(picky)
    assert await counts(picky) == (11, 4, 0, 7)
    await relent(picky)
    done = await retry(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    assert [position.offset for position in done.folded] == list(range(3, 10))
    assert (done.tally.applied, done.stays) == (7, None)
    state = await state_of(picky, history[0].generation_id)
    assert state is not None
    assert (state.status, state.version) == (Status.COMPLETED, 10)
    assert await letters(picky) == []
    assert {letter.resolution for letter in await letters(picky, resolved=True)} == {"retried"}
    assert await counts(picky) == (11, 11, 0, 0)
    assert await picky.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'thumbnail'") == 1
    assert await picky.fetchval("SELECT sum(completed) FROM projections.daily_counts") == 1


async def test_what_still_cannot_be_folded_changes_nothing(picky: Pool) -> None:
    await stuck(picky)
    before = await letters(picky, resolved=True), await counts(picky)
    with pytest.raises(PermanentError, match="still cannot be folded: refused_by_database"):
        await retry(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    assert (await letters(picky, resolved=True), await counts(picky)) == before


async def test_discard_passes_it_over_and_folds_what_waited(picky: Pool) -> None:
    history = await stuck(picky)
    done = await discard(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    assert [position.offset for position in done.folded] == list(range(4, 10))
    state = await state_of(picky, history[0].generation_id)
    assert state is not None
    assert (state.status, state.version) == (Status.COMPLETED, 9)
    assert await counts(picky) == (11, 10, 0, 1)
    assert (await find(picky, TOPIC, REFUSED)).resolution == "discarded"


async def test_a_second_one_behind_the_first_stays_with_what_is_behind_it(picky: Pool) -> None:
    """After the first is discarded, the next refused one blocks the rest and is no longer merely parked."""
    await stuck(picky)
    await picky.execute(refusing("pickier", 50))
    try:
        done = await discard(picky, TOPIC, REFUSED, TIMINGS, ORDER)
        assert (done.tally.applied, done.stays) == (1, Position(0, 5))
        assert await counts(picky) == (11, 5, 0, 6)
        assert [letter.reason for letter in await letters(picky)] == ["refused_by_database", *["parked"] * 4]
        with pytest.raises(PermanentError, match="still cannot be folded"):
            await retry(picky, TOPIC, Position(0, 5), TIMINGS, ORDER)
    finally:
        await picky.execute("ALTER TABLE projections.timeline DROP CONSTRAINT pickier")
    await retry(picky, TOPIC, Position(0, 5), TIMINGS, ORDER)
    assert await counts(picky) == (11, 10, 0, 1)


@pytest.mark.parametrize("end", [retry, discard])
async def test_a_parked_event_is_neither_retried_nor_discarded(picky: Pool, end: type) -> None:
    await stuck(picky)
    before = await letters(picky), await picky.fetch("SELECT * FROM projections.checkpoints")
    with pytest.raises(PermanentError, match="waits behind 0:3"):
        await end(picky, TOPIC, Position(0, 5), TIMINGS, ORDER)
    with pytest.raises(PermanentError, match="no dead letter at 0:99"):
        await end(picky, TOPIC, Position(0, 99), TIMINGS, ORDER)
    assert (await letters(picky), await picky.fetch("SELECT * FROM projections.checkpoints")) == before


@pytest.mark.parametrize("end", [retry, discard])
async def test_each_ends_once(picky: Pool, end: type) -> None:
    await stuck(picky)
    await relent(picky)
    await end(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    with pytest.raises(PermanentError, match="already"):
        await retry(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    with pytest.raises(PermanentError, match="already"):
        await discard(picky, TOPIC, REFUSED, TIMINGS, ORDER)


async def test_a_running_projector_parks_no_more_after_a_retry(picky: Pool) -> None:
    history = wide_history(0)
    running = await a_projector(picky)
    await running.project(0, a_log(history[:5]))
    await relent(picky)
    await retry(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    [outcome] = (await running.project(0, [record_of(history[5], 5)])).outcomes
    assert isinstance(outcome, Applied)
    assert outcome.after.version == 6
    assert await counts(picky) == (6, 6, 0, 0)


async def test_another_owner_fences_a_running_projector_also_after_a_retry(picky: Pool) -> None:
    history = wide_history(0)
    running = await a_projector(picky)
    await running.project(0, a_log(history[:5]))
    await relent(picky)
    await retry(picky, TOPIC, REFUSED, TIMINGS, ORDER)
    assert await Projector(picky, TOPIC, TIMINGS).claim([0], {0: 0}) == {0: 5}
    with pytest.raises(FencedError):
        await running.project(0, [record_of(history[5], 5)])


async def test_retries_during_a_projection_lose_and_repeat_nothing(picky: Pool) -> None:
    """Forty dead letters, retried while a projector projects the rest of their generations."""
    histories = [wide_history(number) for number in range(40)]
    records = a_log([event for step in zip(*histories, strict=True) for event in step])
    running = await a_projector(picky)
    await running.project(0, records[:200])
    assert len(await letters(picky, parked=False)) == 40
    await relent(picky)

    async def project() -> None:
        for record in records[200:]:
            await running.project(0, [record])

    projecting = asyncio.create_task(project())
    for letter in await letters(picky, parked=False):
        await retry(picky, TOPIC, letter.position, TIMINGS, ORDER)
    await projecting
    assert await counts(picky) == (400, 400, 0, 0)
    versions = await picky.fetch("SELECT DISTINCT version FROM projections.generation_states")
    assert [row["version"] for row in versions] == [10]


async def stuck_generations(pool: Pool, number: int) -> None:
    """Each has a refused event, and events parked behind it."""
    projector = await a_projector(pool)
    await projector.project(0, a_log(*(wide_history(each) for each in range(number))))


async def all_of(
    pool: Pool, resolve: ResolveOn, reason: str | None, progress: Progress = lambda *_: None
) -> BulkResolution:
    order = BulkOrder("tried", resolve, LetterFilter(reason=reason), TIMINGS, ORDER)
    return await resolve_all(pool, TOPIC, order, progress)


async def test_all_are_retried_in_several_transactions(picky: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "IN_A_TRANSACTION", 2)
    await stuck_generations(picky, 5)
    await relent(picky)
    shown: list[tuple[int, int]] = []
    done = await all_of(picky, retry_on, None, lambda tried, total: shown.append((tried, total)))
    assert (done.resolved, done.folded, done.stays) == (5, 35, {})
    assert shown == [(2, 5), (4, 5), (5, 5)]
    assert await counts(picky) == (50, 50, 0, 0)


async def test_those_that_stay_do_not_stop_the_others(picky: Pool) -> None:
    await stuck_generations(picky, 3)
    await picky.execute(refusing("pickier", 50))
    try:
        await relent(picky)
        done = await all_of(picky, retry_on, "refused_by_database")
    finally:
        await picky.execute("ALTER TABLE projections.timeline DROP CONSTRAINT pickier")
    assert list(done.stays) == [Position(0, 5), Position(0, 15), Position(0, 25)]
    assert (done.resolved, done.folded) == (3, 6)
    again = await all_of(picky, retry_on, "refused_by_database")
    assert (again.resolved, again.folded, again.stays) == (3, 15, {})


async def test_only_those_of_the_reason_are_discarded(picky: Pool) -> None:
    await stuck_generations(picky, 2)
    assert (await all_of(picky, discard_on, "not_json")).tried == 0
    done = await all_of(picky, discard_on, "refused_by_database")
    assert (done.resolved, done.folded, done.stays) == (2, 12, {})
    assert await counts(picky) == (20, 18, 0, 2)


async def test_all_that_still_cannot_be_folded_stay(picky: Pool) -> None:
    await stuck_generations(picky, 2)
    before = await letters(picky, resolved=True), await counts(picky)
    done = await all_of(picky, retry_on, None)
    assert (done.tried, done.resolved, len(done.stays)) == (2, 0, 2)
    assert (await letters(picky, resolved=True), await counts(picky)) == before


async def test_one_without_a_generation_can_only_be_discarded(emptied: Pool) -> None:
    first = record_of(a_request(), 0)
    without_id = type(first)(1, first.timestamp, b"no id", b"{}")
    batch = await (await a_projector(emptied)).project(0, [first, without_id])
    assert [type(outcome) for outcome in batch.outcomes] == [Applied, DeadLettered]
    with pytest.raises(PermanentError, match="still cannot be folded"):
        await retry(emptied, TOPIC, Position(0, 1), TIMINGS, ORDER)
    done = await discard(emptied, TOPIC, Position(0, 1), TIMINGS, ORDER)
    assert done.folded == []
    assert await counts(emptied) == (2, 1, 0, 1)


async def test_the_whole_agrees_with_the_log_at_every_step(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """Dead letters, one discarded, one retried, others open, and new events after them."""
    refused, broken = a_request(prompt="refused"), a_request()
    await pool.execute("ALTER TABLE projections.generation_requests ADD CONSTRAINT picky CHECK (prompt <> 'refused')")
    at_refused = await event_log.append(refused)
    at_broken = await send_by_key(settings, str(broken.generation_id).encode(), b"{")
    await event_log.append_many([broken, refused.model_copy(update={"id": broken.id})])
    await project_everything(settings, pool)
    assert (await verify(settings)).agrees
    await discard(pool, settings.events_topic, at_broken, TIMINGS, ORDER)
    assert (await verify(settings)).agrees
    await pool.execute("ALTER TABLE projections.generation_requests DROP CONSTRAINT picky")
    await retry(pool, settings.events_topic, at_refused, TIMINGS, ORDER)
    report = await verify(settings)
    assert report.agrees, report.samples
    await event_log.append_many([refused, broken])
    await project_everything(settings, pool)
    report = await verify(settings)
    assert report.agrees, report.samples
    assert sum(partition.dead_lettered for partition in report.partitions) == 1
