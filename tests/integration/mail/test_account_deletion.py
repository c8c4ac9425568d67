"""An account is deleted after its grace time, with every generation of it and with nothing of another user."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from gengui_stream.account_jobs.account_deleter import AccountDeleter
from gengui_stream.accounts import deletion, emails
from gengui_stream.accounts.keys.api_keys import KeyChoice, authenticate, create_key
from gengui_stream.errors import TransientError
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.positions import Position
from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.integration.mail.users import a_user
from tests.integration.projector.projecting import project_everything
from tests.integration.running import a_request, logged

pytestmark = pytest.mark.stack

PERSONAL = ("ada@example.com", "ada", "gpu-box", "198.51.100.7", "a secret prompt")


class Killed(Exception):
    """In place of the end of the process."""


class Killing:
    """A log whose process is killed at the append with this number, before or after it."""

    def __init__(self, log: EventLog, at: int, *, after: bool) -> None:
        self._log, self._left, self._after = log, at, after

    async def append(self, event: Event) -> Position:
        [position] = await self.append_many([event])
        return position

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        self._left -= 1
        positions = await self._log.append_many(events) if self._left or self._after else []
        if not self._left:
            raise Killed
        return positions


def deleter(settings: Settings, pool: Pool, log: Any, **changes: Any) -> AccountDeleter:
    return AccountDeleter(settings, pool, log, log_ends(settings), new_metrics(), **{"settled_s": 0.0, **changes})


async def requested(pool: Pool, user_id: UUID, grace: timedelta = timedelta(0)) -> None:
    async with pool.acquire() as connection, connection.transaction():
        assert await deletion.request(connection, user_id, grace) is not None


async def given_rows(pool: Pool, user_id: UUID) -> str:
    """One row of each table that names the user, and a key."""
    key = (await create_key(pool, "ada@example.com", KeyChoice("gpu-box"))).text
    for statement in (
        "INSERT INTO accounts.login_networks (user_id, network) VALUES ($1, '198.51.100.7')",
        "INSERT INTO accounts.reserved_names (name, user_id) VALUES ('ada', $1)",
        "INSERT INTO accounts.daily_usage (user_id, day, used, open) VALUES ($1, '2026-11-30', 3, '{}')",
        "INSERT INTO accounts.idempotency_keys (owner_id, key, request_hash, event)"
        " VALUES ($1, 'k', '', 'a secret prompt')",
        "INSERT INTO accounts.sessions (token_hash, session_id, user_id, expires_at, address, user_agent)"
        " VALUES ('t', gen_random_uuid(), $1, now() + interval '1 day', '198.51.100.7', '')",
    ):
        await pool.execute(statement, user_id)
    await emails.enqueue(pool, "deletion", user_id, "ada@example.com")
    return key


async def everything(pool: Pool) -> str:
    tables = [
        row["t"]
        for row in await pool.fetch(
            "SELECT oid::regclass::text AS t FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'accounts'::regnamespace"
        )
    ]
    return "\n".join([str(dict(row)) for table in tables for row in await pool.fetch(f"TABLE {table}")])


async def deleted(pool: Pool, user_id: UUID) -> bool:
    return bool(await pool.fetchval("SELECT deleted_at IS NOT NULL FROM accounts.users WHERE user_id = $1", user_id))


def deletions_of(events: Sequence[Event]) -> Mapping[UUID, int]:
    found = [event.generation_id for event in events if event.type == "generation.deleted"]
    return {generation_id: found.count(generation_id) for generation_id in found}


async def step(settings: Settings, pool: Pool, log: Any, **changes: Any) -> None:
    await deleter(settings, pool, log, **changes).delete_due(asyncio.Event())
    await project_everything(settings, pool)


async def test_generations_go_through_the_log_and_the_row_loses_its_content(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    ada, bob = await a_user(pool), await a_user(pool, "bob@example.com", "bob")
    key = await given_rows(pool, ada)
    own, others = [a_request(owner_id=ada) for _ in range(3)], [a_request(owner_id=bob)]
    await event_log.append_many([*own, *others])
    await project_everything(settings, pool)
    await requested(pool, ada)
    assert await authenticate(pool, key) is None, "at once, before any step"
    await step(settings, pool, event_log)
    assert not await deleted(pool, ada), "only once the projections have the deletions"
    await step(settings, pool, event_log)
    assert await deleted(pool, ada)
    assert deletions_of(await logged(settings)) == dict.fromkeys((event.generation_id for event in own), 1)
    left = await everything(pool)
    assert [word for word in PERSONAL if word in left] == []
    assert "bob@example.com" in left
    assert not await deleted(pool, bob)
    assert await pool.fetchval("SELECT count(*) FROM accounts.audit_events WHERE type = 'account.deleted'") == 1
    await step(settings, pool, event_log)
    assert len(await logged(settings)) == 7, "nothing is appended again"


async def test_before_its_time_nothing_happens(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    ada = await a_user(pool)
    key = await given_rows(pool, ada)
    await event_log.append(a_request(owner_id=ada))
    await project_everything(settings, pool)
    await requested(pool, ada, timedelta(hours=1))
    await step(settings, pool, event_log)
    assert await authenticate(pool, key) is not None
    assert len(await logged(settings)) == 1
    async with pool.acquire() as connection:
        assert await deletion.restore(connection, ada)
        assert not await deletion.restore(connection, ada)
    await requested(pool, ada)
    async with pool.acquire() as connection:
        assert not await deletion.restore(connection, ada), "its time has come"


@pytest.mark.parametrize("killed", [(1, False), (1, True), (2, False), (3, True)])
async def test_a_deletion_that_is_killed_goes_on(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch, killed: tuple[int, bool]
) -> None:
    monkeypatch.setattr("gengui_stream.account_jobs.account_deleter.PAGE", 2)
    ada = await a_user(pool)
    own = [a_request(owner_id=ada) for _ in range(5)]
    await event_log.append_many(own)
    await project_everything(settings, pool)
    await requested(pool, ada)
    with pytest.raises(Killed):
        await deleter(settings, pool, Killing(event_log, killed[0], after=killed[1])).delete_due(asyncio.Event())
    for _ in range(2):  # the projections know nothing of the killed process's events at first
        await step(settings, pool, event_log)
    assert await deleted(pool, ada)
    assert deletions_of(await logged(settings)).keys() == {event.generation_id for event in own}
    found = await pool.fetch("SELECT deleted_at FROM projections.generation_states")
    assert all(row["deleted_at"] is not None for row in found)


async def test_a_generation_that_is_requested_at_the_last_moment_is_deleted_too(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    ada = await a_user(pool)
    await requested(pool, ada)
    late = a_request(owner_id=ada)
    await step(settings, pool, event_log, settled_s=3_600.0)
    assert not await deleted(pool, ada), "requests may be on their way"
    await event_log.append(late)  # by a process that authenticated it a moment before
    await deleter(settings, pool, event_log).delete_due(asyncio.Event())
    assert not await deleted(pool, ada), "the projections do not have all of the log"
    await project_everything(settings, pool)
    for _ in range(2):
        await step(settings, pool, event_log)
    assert await deleted(pool, ada)
    assert deletions_of(await logged(settings)) == {late.generation_id: 1}


async def test_two_processes_delete_an_account_once(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    ada = await a_user(pool)
    await event_log.append_many([a_request(owner_id=ada) for _ in range(3)])
    await project_everything(settings, pool)
    await requested(pool, ada)
    for _ in range(3):
        await asyncio.gather(*(deleter(settings, pool, event_log).delete_due(asyncio.Event()) for _ in range(3)))
        await project_everything(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM accounts.audit_events WHERE type = 'account.deleted'") == 1
    ignored = await pool.fetchval("SELECT count(*) FROM projections.timeline WHERE ignored IS NOT NULL")
    assert ignored == len(await logged(settings)) - 6, "of each event one counts"


async def test_without_an_answer_of_the_log_the_row_stays(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    async def unavailable(partitions: Any) -> Mapping[int, int]:
        raise TransientError("the broker is unavailable")

    ada = await a_user(pool)
    await requested(pool, ada)
    with pytest.raises(TransientError):
        await AccountDeleter(settings, pool, event_log, unavailable, new_metrics(), settled_s=0.0).delete_due(
            asyncio.Event()
        )
    assert not await deleted(pool, ada)
