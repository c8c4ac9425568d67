"""Skipping offsets: the partition goes on behind them, and each is kept."""

import pytest

from gengui_stream.errors import PermanentError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projector import Projector
from gengui_stream.recovery.audit import acts
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.skip import skip
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from tests.integration.log.logs import everything, remove_before
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, state_of
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack


async def test_a_skipped_record_is_kept_and_the_next_one_is_projected(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    first = a_request()
    at = await event_log.append(first)
    behind = first.model_copy(update={"id": a_request().id})
    await event_log.append(behind)
    skipped = await skip(settings, pool, at, at.offset, ORDER)
    assert (skipped.first, skipped.last, skipped.found) == (at, at, 1)
    await project_everything(settings, pool)
    assert await state_of(pool, first.generation_id)
    [letter] = await listed(pool, settings.events_topic, LetterFilter(resolved=True, parked=True), limit=10)
    assert (letter.reason, letter.detail) == ("skipped", "skipped by a test: tested")
    assert letter.resolution == "discarded"
    assert letter.generation_id == first.generation_id
    [act] = await acts(pool, action="skip", limit=9)
    assert (act.operator, act.subject, act.reason, act.result) == (
        "a test",
        f"{at} to {at.offset}",
        "tested",
        {"records": 1},
    )
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_the_owner_of_the_partition_goes_on_behind_them(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """It has the record in a batch whose transactions fail; the same owner commits the rest of that batch."""
    skipped = a_request()
    at = await event_log.append(skipped)
    await event_log.append(skipped.model_copy(update={"id": a_request().id}))
    batch = await everything(settings)
    owner = Projector(pool, settings.events_topic, TIMINGS)
    await owner.claim([at.partition], {at.partition: 2})
    await skip(settings, pool, at, at.offset, ORDER)
    [done] = await owner.project_all({at.partition: batch})
    assert (done.next_offset, done.tally.applied) == (2, 1)
    assert await state_of(pool, skipped.generation_id)
    report = await verify(settings)
    assert report.agrees, report.samples


async def test_offsets_whose_records_are_gone_are_skipped(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    event = a_request()
    at = await event_log.append(event)
    later = event.model_copy(update={"id": a_request().id})
    last = await event_log.append(later)
    await remove_before(settings, {at.partition: last.offset})
    skipped = await skip(settings, pool, at, last.offset - 1, ORDER)
    assert skipped.found == 0
    await project_everything(settings, pool)
    assert await state_of(pool, later.generation_id)


async def test_only_the_next_offset_of_a_partition_can_be_skipped(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    at = await event_log.append(a_request())
    await project_everything(settings, pool)
    with pytest.raises(PermanentError, match="only its next offset"):
        await skip(settings, pool, at, at.offset, ORDER)
    beyond = Position(at.partition, at.offset + 1)
    with pytest.raises(PermanentError, match="ends before"):
        await skip(settings, pool, beyond, beyond.offset, ORDER)
    with pytest.raises(PermanentError, match="has no partition 99"):
        await skip(settings, pool, Position(99, 0), 0, ORDER)
    with pytest.raises(PermanentError, match="at once"):
        await skip(settings, pool, beyond, at.offset, ORDER)
