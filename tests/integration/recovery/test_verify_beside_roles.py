"""`verify` beside running roles: pages of different checkpoints, and no transaction across statements."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import pytest

from gengui_stream.errors import TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery import verify as verify_module
from gengui_stream.recovery.verification import database_pages
from gengui_stream.recovery.verification.session import APPLICATION_NAME, SERVER_SETTINGS, opened_session
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.projector.projecting import project_everything, projecting

pytestmark = pytest.mark.stack

SESSIONS: Final = """
SELECT state, backend_xmin, xact_start FROM pg_stat_activity
WHERE application_name = $1 AND datname = current_database()
"""

NOW: Final = datetime.now(UTC)


def recent(number: int) -> Sequence[Event]:
    return wide_history(number, start=NOW)


async def test_it_agrees_while_events_are_projected(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page is read at another checkpoint, and compared as of then."""
    monkeypatch.setattr(database_pages, "PAGE", 3)
    monkeypatch.setattr(database_pages, "GENERATIONS", 2)
    first, later = ([event for number in numbers for event in recent(number)] for numbers in (range(20), range(20, 60)))
    await event_log.append_many(first)
    await project_everything(settings, pool)

    async def append() -> None:
        for event in later:
            await event_log.append(event)

    async with projecting(settings):
        appending = asyncio.ensure_future(append())
        reports = [await verify(settings)]
        while not appending.done():
            reports.append(await verify(settings))
        await appending
    assert [report.samples for report in reports if not report.agrees] == []
    assert any(len(first) < report.events < len(first) + len(later) for report in reports)
    assert (await verify(settings)).events > len(first)


async def test_no_transaction_lives_between_two_statements(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open one would keep a snapshot, and PostgreSQL could remove no old row versions. A statement reads a page."""
    sessions: list[asyncpg.Record] = []
    fetch = asyncpg.Connection.fetch

    async def watched(self: "asyncpg.Connection[asyncpg.Record]", query: str, *arguments: Any, **named: Any) -> Any:
        if self.get_settings().application_name == APPLICATION_NAME:
            sessions.extend(await pool.fetch(SESSIONS, APPLICATION_NAME))
        return await fetch(self, query, *arguments, **named)

    monkeypatch.setattr(asyncpg.Connection, "fetch", watched)
    await event_log.append_many([event for number in range(10) for event in recent(number)])
    await project_everything(settings, pool)
    assert (await verify(settings)).agrees
    assert len(sessions) > 10
    assert {(row["state"], row["backend_xmin"], row["xact_start"]) for row in sessions} == {("idle", None, None)}
    async with opened_session(settings) as connection:
        limits = [await connection.fetchval(f"SHOW {name}") for name in SERVER_SETTINGS if name.endswith("_timeout")]
    assert limits == ["30s", "1s"]


async def test_dead_letters_that_are_resolved_meanwhile_call_for_another_run(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry changes rows that were compared before."""
    await event_log.append_many(recent(0))
    await project_everything(settings, pool)
    copy = database_pages.copy_timeline_sizes

    async def copying(*arguments: Any) -> None:
        await pool.execute("UPDATE projections.checkpoints SET parked_revision = parked_revision + 1")
        await copy(*arguments)

    monkeypatch.setattr(verify_module, "copy_timeline_sizes", copying)
    with pytest.raises(TransientError, match="dead letters were retried or discarded"):
        await verify(settings)
