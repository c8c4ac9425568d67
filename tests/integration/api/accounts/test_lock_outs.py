"""Guesses of passwords: slowed down and locked out, without locking out the user."""

import asyncio
import threading
from collections import Counter
from itertools import islice

import aiohttp
import pytest
from argon2 import PasswordHasher

from gengui_stream.accounts import login_failures
from gengui_stream.accounts.login_failures import LOCKED_FROM, LOGIN_MAX, NETWORK_MAX, PAUSES_S, WINDOW_S
from gengui_stream.accounts.passwords import QUEUED_FOR_EACH
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, audited, log_in, token_for, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.running import eventually

LOGIN = "/v1/auth/login"
LATER = """
UPDATE accounts.login_failures SET last_at = last_at - make_interval(secs => $1),
    first_at = first_at - make_interval(secs => $1)
"""


async def guess(client: Client, login: str, password: str = "wrong") -> tuple[int, int]:
    """The status, and the seconds to wait."""
    status, headers, _ = await client.call("POST", LOGIN, json={"login": login, "password": password})
    return status, int(headers.get("Retry-After", 0))


async def later(pool: Pool, seconds: float) -> None:
    await pool.execute(LATER, seconds)


async def test_guesses_are_slowed_down_and_locked_as_in_the_original(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    for login in ("ada", "unknown_name"):
        for failures in range(1, LOCKED_FROM + 1):
            assert (await guess(visitor, login))[0] == 401, failures
            pause = PAUSES_S.get(failures, 0.0)
            if pause:
                assert await guess(visitor, login, PASSWORD) == (429, pause), "the right password, too"
                await later(pool, pause)
        assert (await guess(visitor, login))[0] == 401
        assert await guess(visitor, login) == (429, PAUSES_S[LOCKED_FROM])
    assert Counter(await audited(pool)) == {"login.failed": 16, "login.locked": 4}
    await later(pool, PAUSES_S[LOCKED_FROM])
    await log_in(visitor, "ada")
    assert (await guess(visitor, "ada"))[0] == 401, "a success forgets the failures"


async def test_parallel_guesses_are_counted_one_by_one(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    found = await asyncio.gather(*(guess(visitor, "ada", f"guess {number}") for number in range(40)))
    assert Counter(status for status, _ in found) == {401: min(PAUSES_S), 429: 40 - min(PAUSES_S)}


async def test_a_lock_is_for_the_network_of_the_guesses_alone(visitor: Client, base: str, pool: Pool) -> None:
    await an_account(pool, "ada")
    async with visiting(base, "127.0.0.2") as attacker:
        for _ in range(LOCKED_FROM):
            await guess(attacker, "ada")
            await later(pool, 10)
        assert (await guess(attacker, "ada", PASSWORD))[0] == 429
    await log_in(visitor, "ada")
    assert (await guess(visitor, "ADA@example.com", PASSWORD))[0] == 200


async def test_beyond_a_number_of_failures_only_networks_of_the_user_pass(base: str, pool: Pool) -> None:
    user_id = await an_account(pool, "ada")
    async with (
        visiting(base, "127.0.0.3") as home,
        visiting(base, "127.0.0.4") as elsewhere,
        visiting(base, "127.0.0.5") as attacker,
    ):
        await log_in(home, "ada")
        assert (await guess(attacker, "ada"))[0] == 401
        await pool.execute("UPDATE accounts.login_failures SET failures = $1 WHERE network = ''", LOGIN_MAX)
        status, seconds = await guess(elsewhere, "ada", PASSWORD)
        assert status == 429
        assert WINDOW_S - 60 <= seconds <= WINDOW_S
        await log_in(home, "ada")
        reset = {"token": await token_for(pool, user_id, "reset_password", "ada@example.com"), "password": PASSWORD}
        assert (await elsewhere.call("POST", "/v1/auth/password-reset/confirm", json=reset))[0] == 204
        await log_in(elsewhere, "ada")  # who reads the e-mails is no attacker


async def test_one_network_guesses_no_more_than_a_number_of_passwords_of_all(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    await guess(visitor, "another_login")
    await pool.execute("UPDATE accounts.login_failures SET failures = $1 WHERE login_hash = ''", NETWORK_MAX - 1)
    await log_in(visitor, "ada")
    assert (await guess(visitor, "third"))[0] == 401, "the success did not count, and reset nothing"
    assert (await guess(visitor, "ada", PASSWORD))[0] == 429
    await later(pool, WINDOW_S)
    await log_in(visitor, "ada")


REVERSED = """
INSERT INTO accounts.login_failures (login_hash, network, failures)
VALUES ('', $2, 1), (sha256(convert_to($1, 'UTF8')), '', 1), (sha256(convert_to($1, 'UTF8')), $2, 1)
"""
FREE = "SELECT count(*) FROM (SELECT FROM accounts.login_failures FOR UPDATE SKIP LOCKED) AS free"
WAITING = """
SELECT count(*) = 1 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%login_failures%'
"""


async def test_a_success_locks_the_rows_in_the_order_of_attempts(pool: Pool) -> None:
    """In whichever order the table has them: else it and an attempt beside it would wait for each other."""
    await pool.execute(REVERSED, "ada", "127.0.0.1")

    async def is_waiting() -> bool:
        return bool(await pool.fetchval(WAITING))

    async with asyncio.TaskGroup() as group, pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM accounts.login_failures WHERE login_hash <> '' AND network <> '' FOR UPDATE")
        group.create_task(login_failures.uncount(pool, "ada", "127.0.0.1"))
        await eventually(is_waiting)
        assert await pool.fetchval(FREE) == 2, "it holds no other row while it waits for the first"
    assert await pool.fetchval("SELECT sum(failures) FROM accounts.login_failures") == 0


async def test_a_session_cannot_be_used_to_guess_the_password(ada: Client, pool: Pool) -> None:
    body = {"current_password": "wrong", "new_password": "another password"}
    statuses = [(await ada.call("PUT", "/v1/account/password", json=body))[0] for _ in range(min(PAUSES_S) + 1)]
    assert statuses == [403] * min(PAUSES_S) + [429]
    assert "login.failed" in await audited(pool)


async def test_beyond_the_queue_of_hashes_a_log_in_is_refused_and_does_not_count(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, extra = threading.Event(), 5
    monkeypatch.setattr(PasswordHasher, "verify", lambda *_: release.wait())
    one = settings.model_copy(update={"password_hashes_at_once": 1})
    admitted = 1 + QUEUED_FOR_EACH
    async with serving(one, session) as base, visiting(base) as visitor, asyncio.TaskGroup() as group:
        logins = [group.create_task(guess(visitor, f"user{number}")) for number in range(admitted + extra)]
        refused = [await first for first in islice(asyncio.as_completed(logins), extra)]
        assert refused == [(503, 2)] * extra
        assert (await visitor.call("GET", "/v1/account"))[0] == 401, "other requests go on"
        failures = "SELECT sum(failures) FROM accounts.login_failures WHERE login_hash <> '' AND network <> ''"
        assert await pool.fetchval(failures) == admitted
        release.set()
    assert Counter(task.result()[0] for task in logins) == {401: admitted, 503: extra}
