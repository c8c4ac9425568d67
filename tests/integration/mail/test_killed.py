"""SIGKILL to `gengui-stream account-jobs` in the middle of its work: another process finishes it."""

import signal
from collections import Counter
from datetime import timedelta
from typing import Final

import pytest

from gengui_stream.accounts import deletion
from gengui_stream.accounts.emails import enqueue
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.databases import connected
from tests.integration.mail.smtp_server import Mailbox, smtp_server, with_smtp
from tests.integration.mail.users import a_user
from tests.integration.projector.projecting import projecting
from tests.integration.role_process import RoleProcess
from tests.integration.running import a_request, eventually, logged

pytestmark = pytest.mark.stack

RECIPIENTS: Final = [f"user{number}@example.com" for number in range(8)]
GENERATIONS: Final = 450
"""More than two pages of a deletion."""

CLOSED_FOR: Final = timedelta(minutes=3)
"""Longer than an account is closed before its row is emptied."""

LEASE_ENDED: Final = (
    "UPDATE accounts.emails SET leased_until = now() WHERE leased_until IS NOT NULL RETURNING recipient"
)
IN_FORGET: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%SET deleted_at = now()%'
"""
DELETED: Final = "SELECT deleted_at IS NOT NULL FROM accounts.users WHERE user_id = $1"
TRAIL: Final = "SELECT count(*) FROM accounts.audit_events WHERE type = 'account.deleted' AND subject_id = $1"
IGNORED: Final = "SELECT count(*) FROM projections.timeline WHERE ignored IS NOT NULL"
NOT_DELETED: Final = "SELECT count(*) FROM projections.generation_states WHERE deleted_at IS NULL"


def account_jobs(settings: Settings) -> RoleProcess:
    return RoleProcess(settings, "account-jobs")


async def killed(process: RoleProcess) -> None:
    process.send(signal.SIGKILL)
    assert await process.ended() == -signal.SIGKILL


async def stopped(process: RoleProcess) -> None:
    process.send(signal.SIGTERM)
    assert await process.ended() == 0


async def test_e_mails_arrive_once_but_for_the_one_whose_acknowledgement_was_lost(
    settings: Settings, pool: Pool
) -> None:
    user_id = await a_user(pool)
    for recipient in RECIPIENTS:
        await enqueue(pool, "email_changed", user_id, recipient)
    untaken, unacknowledged = RECIPIENTS[2], RECIPIENTS[5]
    mailbox = Mailbox(held={untaken: "RCPT", unacknowledged: "DATA"})

    async def silent() -> bool:
        return not mailbox.answers.is_set()

    async with smtp_server(mailbox) as port:
        own = with_smtp(settings, port)
        for held in (untaken, unacknowledged):
            async with account_jobs(own) as process:
                await eventually(silent)
                await killed(process)
            mailbox.answers.set()
            leased = await pool.fetch(LEASE_ENDED)  # as if its time had passed
            assert [row["recipient"] for row in leased] == [held]
        async with account_jobs(own) as process:
            await eventually(lambda: _is_empty(pool))
            await stopped(process)
    arrived = Counter(message["To"] for message in mailbox.messages)
    assert arrived == Counter([*RECIPIENTS, unacknowledged])
    ids = {message["Message-ID"] for message in mailbox.messages if message["To"] == unacknowledged}
    assert len(ids) == 1, "a mail program shows it once"


async def _is_empty(pool: Pool) -> bool:
    return not await pool.fetchval("SELECT EXISTS (SELECT FROM accounts.emails)")


async def test_an_account_is_deleted_once_whenever_its_process_is_killed(
    settings: Settings, pool: Pool, event_log: EventLog
) -> None:
    """Killed once while it appends deletions, and once while it empties the row of the user."""
    ada, bob = await a_user(pool), await a_user(pool, "bob@example.com", "bob")
    own, others = [a_request(owner_id=ada) for _ in range(GENERATIONS)], [a_request(owner_id=bob) for _ in range(3)]
    await event_log.append_many([*own, *others])
    async with projecting(settings):
        await eventually(lambda: _counts(pool, NOT_DELETED, GENERATIONS + 3))
    async with pool.acquire() as connection, connection.transaction():
        assert await deletion.request(connection, ada, -CLOSED_FOR) is not None

    async with account_jobs(settings) as process:
        await eventually(lambda: _has_grown(settings, beyond=GENERATIONS + 3))
        await killed(process)
    async with projecting(settings):
        async with connected(settings.database_dsn) as holding, holding.transaction():
            await holding.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await holding.execute("SELECT FROM accounts.users WHERE user_id = $1 FOR NO KEY UPDATE", ada)
            async with account_jobs(settings) as process:
                [row] = await eventually(lambda: pool.fetch(IN_FORGET))
                await killed(process)
        await eventually(lambda: _has_left(pool, row["pid"]))
        assert not await pool.fetchval(DELETED, ada), "its transaction was rolled back"
        async with account_jobs(settings) as process:
            await eventually(lambda: pool.fetchval(DELETED, ada))
            await stopped(process)
        events = [event for event in await logged(settings) if event.type == "generation.deleted"]
        assert {event.generation_id for event in events} == {event.generation_id for event in own}
        await eventually(lambda: _counts(pool, IGNORED, len(events) - GENERATIONS))
    assert await pool.fetchval(TRAIL, ada) == 1
    assert await _counts(pool, NOT_DELETED, 3)
    assert not await pool.fetchval(DELETED, bob)


async def _counts(pool: Pool, statement: str, number: int) -> bool:
    return int(await pool.fetchval(statement)) == number


async def _has_grown(settings: Settings, *, beyond: int) -> bool:
    ends = await log_ends(settings)(range(settings.events_partitions))
    return sum(ends.values()) > beyond


async def _has_left(pool: Pool, pid: int) -> bool:
    return not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)
