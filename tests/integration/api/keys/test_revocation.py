"""A key that is revoked is refused at once, by every process, and its streams end; when it was last used is kept."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from api import notification_fanout
from api.handlers import streams
from gengui_stream.accounts.keys import key_usage
from gengui_stream.accounts.keys.api_keys import create_key, revoke_key, seed_user
from gengui_stream.accounts.keys.key_usage import KeyUsage
from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.settings import Settings
from tests.integration.api.client import Client, key_id
from tests.integration.api.conftest import serving
from tests.integration.running import DEADLINE_S, eventually

ALL = "/v1/stream"
CHANGES = {
    "revoked": "UPDATE accounts.api_keys SET revoked_at = now()",
    "expired": "UPDATE accounts.api_keys SET expires_at = now()",
    "narrowed": "UPDATE accounts.api_keys SET scopes = '{}'",
    "other role": "UPDATE accounts.users SET role = 'worker'",
    "deleted": "UPDATE accounts.users SET deleted_at = now()",
}


@pytest.fixture
async def two(settings: Settings, session: aiohttp.ClientSession, base: str) -> AsyncIterator[tuple[str, str]]:
    """The URLs of two API processes, as far as keys are concerned."""
    async with serving(settings, session) as second:
        yield base, second


async def test_a_revoked_key_is_refused_by_the_next_request_everywhere(
    two: tuple[str, str], session: aiohttp.ClientSession, pool: Pool
) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    clients = [Client(session, base, key) for base in two]
    for client in clients:
        for _ in range(3):
            await client.get("/v1/generations")
    await revoke_key(pool, key_id(key))
    for client in clients:
        status, _, found = await client.call("GET", "/v1/generations")
        assert (status, found["code"]) == (401, "unauthorized")


@pytest.fixture
def without_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream looks only at a notification: not by itself before the deadline of a test."""
    monkeypatch.setattr(notification_fanout, "POLL_S", 10 * DEADLINE_S)
    monkeypatch.setattr(streams, "COMMENT_EVERY_S", 10 * DEADLINE_S)


@pytest.mark.usefixtures("without_polls")
@pytest.mark.parametrize("change", CHANGES)
async def test_open_streams_end_with_what_their_key_allowed(
    two: tuple[str, str], settings: Settings, session: aiohttp.ClientSession, pool: Pool, change: str
) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    user_id = await pool.fetchval("SELECT user_id FROM accounts.users")
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Client(session, base, key).stream(ALL)) for base in two]
        for stream in opened:
            assert await stream.next() is not None
        await pool.execute(CHANGES[change])
        async with opened_redis(settings) as redis:
            await NotificationPublisher(redis).publish_access(user_id)
        for stream in opened:
            assert await stream.rest() == []
            assert stream.seen[-1].comment == "the key was revoked, or the session has ended"


async def test_a_stream_sends_nothing_after_a_revocation_without_a_notification(user: Client, pool: Pool) -> None:
    second = Client(user.session, user.base, (await create_key(pool, "user@example.com")).text)
    async with user.stream(ALL) as stream:
        assert await stream.next() is not None
        await revoke_key(pool, key_id(user.key))
        await second.create()
        assert await stream.rest() == []


async def test_no_request_waits_for_the_last_use_to_be_written(user: Client, pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM accounts.api_keys FOR UPDATE")
        await user.get("/v1/generations")
        assert await pool.fetchval("SELECT max(last_used_at) FROM accounts.api_keys") is None


async def test_the_last_use_of_each_key_is_kept(emptied: Pool) -> None:
    keys = [await seed_user(emptied, "user@example.com", "user") for _ in range(3)]
    now = datetime(2026, 11, 30, tzinfo=UTC)
    usage, other = KeyUsage(emptied, lambda: now), KeyUsage(emptied, lambda: now - timedelta(hours=1))
    usage.used(key_id(keys[0]))
    for key in keys[:2]:
        other.used(key_id(key))
    other.used("ffffffff")
    await usage.write()
    await other.write()
    rows = await emptied.fetch("SELECT key_id, last_used_at FROM accounts.api_keys")
    found = {row["key_id"]: row["last_used_at"] for row in rows}
    assert found == {key_id(keys[0]): now, key_id(keys[1]): now - timedelta(hours=1), key_id(keys[2]): None}


async def test_the_use_of_keys_is_kept_while_the_database_is_unavailable(database: Settings, emptied: Pool) -> None:
    key = await seed_user(emptied, "user@example.com", "user")
    usage = KeyUsage(emptied)
    usage.used(key_id(key))
    await emptied.close()
    with pytest.raises(TransientError):
        await usage.write()
    with pytest.raises(TransientError):
        await usage.write()


def test_a_process_keeps_the_use_of_a_limited_number_of_keys(emptied: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_usage, "KEYS_MAX", 2)
    usage = KeyUsage(emptied)
    for number in range(5):
        usage.used(str(number))
    assert sorted(usage._used) == ["0", "1"]


async def test_an_api_that_ends_writes_the_last_uses(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    async with serving(settings, session) as base:
        await Client(session, base, key).get("/v1/generations")

    async def written() -> bool:
        return await pool.fetchval("SELECT max(last_used_at) FROM accounts.api_keys") is not None

    await eventually(written)
