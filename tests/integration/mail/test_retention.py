"""Rows that nothing needs any more are forgotten, the others stay."""

import asyncio

import pytest

from gengui_stream.account_jobs.retention import keep_pruning, prune, stores
from gengui_stream.accounts import emails
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import load_settings
from tests.integration.mail.users import a_user
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

STORES = stores(load_settings({}, env_files=()))
SESSION = (
    "INSERT INTO accounts.sessions (token_hash, session_id, user_id, expires_at, address, user_agent)"
    " VALUES (sha256($1::text::bytea), gen_random_uuid(), $2, now() + make_interval(hours => $3), '', '')"
)
TOKEN = (
    "INSERT INTO accounts.one_time_tokens (token_hash, user_id, purpose, email, expires_at)"
    " VALUES (sha256($1::text::bytea), $2, 'verify_email', 'a@example.com', now() + make_interval(hours => $3))"
)
STREAM_TOKEN = (
    "INSERT INTO accounts.stream_tokens (token_hash, key_id, expires_at)"
    " VALUES (sha256($1::text::bytea), 'deadbeef', now() + make_interval(hours => $2))"
)
FAILURE = (
    "INSERT INTO accounts.login_failures (login_hash, network, failures, last_at)"
    " VALUES (sha256($1::text::bytea), '', 1, now() + make_interval(hours => $2))"
)
MANY = (
    "INSERT INTO accounts.login_failures (login_hash, network, failures, last_at)"
    " SELECT sha256(n::text::bytea), '', 1, '2026-01-01' FROM generate_series(1, 2500) AS n"
)
AUDITED = (
    "INSERT INTO accounts.audit_events (occurred_at, type, address, request_id, detail)"
    " VALUES (now() - make_interval(days => $1), 'login.failed', '198.51.100.7', '', '{}')"
)
KEY = (
    "INSERT INTO accounts.api_keys (key_id, user_id, secret_hash, revoked_at, expires_at)"
    " VALUES ($1, $2, sha256($1::text::bytea), now() - make_interval(days => $3), now() - make_interval(days => $4))"
)


NAME = (
    "INSERT INTO accounts.reserved_names (name, user_id, signed_up_at)"
    " VALUES ($1, $2, now() - make_interval(days => $3))"
)
IDEMPOTENCY_KEY = (
    "INSERT INTO accounts.idempotency_keys (owner_id, key, request_hash, event, created_at)"
    " VALUES ($1, $2::int::text, '', '', now() - make_interval(days => $2))"
)
TABLES = {"sign_ups": "reserved_names"}
"""Of the stores that are not named after theirs."""


async def given_rows(pool: Pool) -> None:
    """An old row and a current one of each store."""
    user_id = await a_user(pool)
    await pool.execute(NAME, "grace", user_id, 6)
    await pool.execute(NAME, "bob", await a_user(pool, "bob@example.com", "bob", verified=True), 8)
    await pool.execute(KEY, "deadbeef", user_id, None, None)
    await pool.execute(KEY, "00000031", user_id, 31, None)
    for hours in (-1, 1):
        await pool.execute(SESSION, str(hours), user_id, hours)
        await pool.execute(TOKEN, str(hours), user_id, hours)
        await pool.execute(STREAM_TOKEN, str(hours), hours)
    for hours in (-25, -23):
        await pool.execute(FAILURE, str(hours), hours)
    for days in (8, 6):
        await pool.execute(IDEMPOTENCY_KEY, user_id, days)
    for days in (366, 364):
        await pool.execute(AUDITED, days)
    await emails.enqueue(pool, "verification", None, "unknown@example.com")
    await emails.enqueue(pool, "verification", user_id, "ada@example.com")


async def left(pool: Pool) -> dict[str, int]:
    tables = {store: TABLES.get(store, store) for store in STORES}
    return {store: int(await pool.fetchval(f"SELECT count(*) FROM accounts.{tables[store]}")) for store in STORES}


def pruned(metrics: Metrics) -> dict[str, float]:
    return {store: metrics.pruned.labels(store)._value.get() for store in STORES}


async def test_old_rows_are_removed_and_current_ones_stay(emptied: Pool) -> None:
    await given_rows(emptied)
    assert set((await left(emptied)).values()) == {2}
    metrics = new_metrics()
    assert not await prune(emptied, STORES, metrics)
    assert set((await left(emptied)).values()) == {1}
    assert set(pruned(metrics).values()) == {1}
    assert await emptied.fetchval("SELECT user_id IS NOT NULL FROM accounts.emails")


async def test_many_rows_are_removed_in_steps(emptied: Pool) -> None:
    await emptied.execute(MANY)
    assert await prune(emptied, STORES, new_metrics())
    assert (await left(emptied))["login_failures"] == 1_500
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_pruning(emptied, STORES, new_metrics(), stop))

        async def is_empty() -> bool:
            return (await left(emptied))["login_failures"] == 0

        await eventually(is_empty)
        stop.set()


async def test_keys_are_kept_for_thirty_days_after_their_end(emptied: Pool) -> None:
    user_id = await a_user(emptied)
    ends = {"a": (31, None), "b": (None, 31), "c": (1, 31), "d": (29, None), "e": (None, 29), "f": (None, -31)}
    for key_id, (revoked, expired) in {**ends, "g": (None, None)}.items():
        await emptied.execute(KEY, key_id * 8, user_id, revoked, expired)
    assert not await prune(emptied, STORES, new_metrics())
    found = await emptied.fetch("SELECT key_id FROM accounts.api_keys ORDER BY 1")
    assert [row["key_id"][0] for row in found] == ["d", "e", "f", "g"]
