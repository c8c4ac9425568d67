"""Log-in, log-out, and what a session may do."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from argon2 import extract_parameters

from gengui_stream.accounts.sessions import SEEN_WITHIN
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.passwords import CHEAP, PASSWORD
from tests.integration.api.accounts.visitors import an_account, audited, log_in, visiting
from tests.integration.api.client import Client, started

LOGIN, LOGOUT, ACCOUNT, SESSIONS = "/v1/auth/login", "/v1/auth/logout", "/v1/account", "/v1/account/sessions"


def cookie_of(client: Client) -> str:
    [cookie] = [cookie for cookie in client.session.cookie_jar if cookie.key == "gengui-session"]
    return cookie.value


async def status_with(client: Client, token: str) -> int:
    """Of a request with this cookie alone."""
    async with visiting(client.base) as other:
        return (await other.call("GET", ACCOUNT, headers={"Cookie": f"gengui-session={token}"}))[0]


@pytest.mark.parametrize("login", ["ada", "ADA", "ada@example.com", "Ada@EXAMPLE.com"])
async def test_a_log_in_by_name_or_address_opens_a_session(visitor: Client, pool: Pool, login: str) -> None:
    user_id = await an_account(pool, "ada")
    status, headers, found = await visitor.call("POST", LOGIN, json={"login": login, "password": PASSWORD})
    assert (status, found["id"], found["email"], found["email_verified"]) == (
        200,
        str(user_id),
        "ada@example.com",
        True,
    )
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"} <= set(headers["Set-Cookie"].split("; "))
    assert await visitor.get(ACCOUNT) == found
    await visitor.create()
    assert await audited(pool) == ["login.succeeded"]
    stored = str(await pool.fetch("TABLE accounts.sessions"))
    assert cookie_of(visitor) not in stored


async def test_another_password_login_or_account_is_refused_alike(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    await pool.execute(
        "INSERT INTO accounts.users (user_id, email, role) VALUES ($1, 'op@example.com', 'admin')", UUID(int=1)
    )
    answers = []
    for login, password in (("ada", PASSWORD + "x"), ("bob", PASSWORD), ("op@example.com", ""), ("a@b", PASSWORD)):
        status, headers, found = await visitor.call("POST", LOGIN, json={"login": login, "password": password})
        answers.append((status, found["code"], found["detail"], "Set-Cookie" in headers))
    assert set(answers) == {(401, "invalid_credentials", answers[0][2], False)}
    assert await audited(pool) == ["login.failed"] * 4


async def test_each_log_in_has_a_session_of_its_own_in_place_of_the_one_sent(ada: Client, pool: Pool) -> None:
    first = cookie_of(ada)
    await log_in(ada, "ada")
    assert cookie_of(ada) != first
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 1
    assert await status_with(ada, first) == 401
    assert await status_with(ada, cookie_of(ada)) == 200


async def test_a_log_out_ends_the_session_and_may_be_repeated(ada: Client, pool: Pool) -> None:
    token = cookie_of(ada)
    for _ in range(2):
        status, headers, _ = await ada.call("POST", LOGOUT)
        assert (status, "Max-Age=0" in headers["Set-Cookie"]) == (204, True)
    assert await status_with(ada, token) == 401
    assert await audited(pool) == ["login.succeeded", "session.ended"]


async def test_sessions_are_listed_and_ended(ada: Client, base: str, pool: Pool) -> None:
    await an_account(pool, "bob")
    async with visiting(base) as phone, visiting(base) as bob:
        await log_in(phone, "ada")
        await log_in(bob, "bob")
        listed = (await ada.get(SESSIONS))["data"]
        assert sorted(session["current"] for session in listed) == [False, True]
        [other] = [session for session in listed if not session["current"]]
        assert other["address"] == "127.0.0.1"
        assert "aiohttp" in other["user_agent"]
        for client, expected in ((bob, 404), (ada, 204), (ada, 404)):
            assert (await client.call("DELETE", f"{SESSIONS}/{other['id']}"))[0] == expected
        assert (await ada.call("DELETE", f"{SESSIONS}/none"))[0] == 404
        assert (await phone.call("GET", ACCOUNT))[0] == 401
        await log_in(phone, "ada")
        assert (await phone.call("DELETE", SESSIONS))[0] == 204
        statuses = [(await client.call("GET", ACCOUNT))[0] for client in (ada, phone, bob)]
        assert statuses == [401, 200, 200]


async def test_a_session_ends_with_its_time(ada: Client, pool: Pool) -> None:
    await pool.execute("UPDATE accounts.sessions SET expires_at = now()")
    status, _, found = await ada.call("GET", "/v1/generations")
    assert (status, found["code"]) == (401, "unauthorized")


async def test_a_session_records_from_time_to_time_that_it_was_seen(ada: Client, pool: Pool) -> None:
    seen = "SELECT last_seen_at FROM accounts.sessions"
    at_log_in = await pool.fetchval(seen)
    await ada.get(ACCOUNT)
    assert await pool.fetchval(seen) == at_log_in
    earlier = at_log_in - SEEN_WITHIN - timedelta(seconds=1)
    await pool.execute("UPDATE accounts.sessions SET last_seen_at = $1", earlier)
    await ada.get(ACCOUNT)
    assert await pool.fetchval(seen) > at_log_in


@pytest.mark.usefixtures("projector")
async def test_an_open_stream_ends_with_its_session(ada: Client, pool: Pool, event_log: EventLog) -> None:
    generation_id = await ada.created()
    async with ada.stream("/v1/stream") as stream:
        await stream.next()
        await ada.created()
        assert [message.event for message in await stream.events(1)] == ["generation.requested"]
        assert (await ada.call("POST", LOGOUT))[0] == 204
        await event_log.append(started(generation_id))
        assert await stream.rest() == []
        assert stream.seen[-1].comment == "the key was revoked, or the session has ended"


async def test_a_key_does_for_generations_and_a_session_for_the_account(ada: Client, user: Client, pool: Pool) -> None:
    for method, path in (("GET", ACCOUNT), ("GET", SESSIONS), ("DELETE", SESSIONS)):
        status, _, found = await user.call(method, path)
        assert (status, found["code"]) == (403, "session_required"), path
    both = {"Authorization": f"Bearer {user.key}"}
    assert (await ada.call("GET", ACCOUNT, headers=both))[0] == 403, "the key counts"
    assert (await ada.call("GET", "/v1/generations", headers={"Authorization": "Bearer gg_x"}))[0] == 401
    assert (await ada.call("POST", "/v1/stream-tokens"))[0] == 403
    assert (await ada.call("POST", "/v1/worker/jobs/claim", json={}))[0] == 403


@pytest.mark.usefixtures("projector")
async def test_generating_needs_a_verified_address(ada: Client, pool: Pool) -> None:
    """No log-in does without it either, but an operator may take the verification back."""
    await pool.execute("UPDATE accounts.users SET email_verified_at = NULL")
    assert (await ada.get(ACCOUNT))["email_verified"] is False
    assert (await ada.get("/v1/generations"))["data"] == []
    for path in ("/v1/generations", f"/v1/generations/{UUID(int=7)}/retry"):
        status, _, found = await ada.call("POST", path, json={"prompt": "a fox"})
        assert (status, found["code"]) == (403, "email_not_verified")
    status, _, found = await ada.call("POST", "/v1/account/keys", json={"name": "laptop"})
    assert (status, found["code"]) == (403, "email_not_verified"), "a key would outlive a reset of the password"
    await pool.execute("UPDATE accounts.users SET email_verified_at = now()")
    await ada.created()


async def test_a_hash_of_other_parameters_is_replaced_at_a_log_in(visitor: Client, pool: Pool) -> None:
    older = replace(CHEAP, time_cost=2)
    await an_account(pool, "ada", profile=older)
    stored = "SELECT password_hash FROM accounts.users"
    with pytest.raises(AssertionError):
        await log_in(visitor, "ada", "wrong")
    assert extract_parameters(await pool.fetchval(stored)) == older
    for _ in range(2):
        await log_in(visitor, "ada")
        assert extract_parameters(await pool.fetchval(stored)) == CHEAP


async def test_the_session_of_an_admin_operates_and_works_on_no_jobs(ada: Client, pool: Pool) -> None:
    await pool.execute("UPDATE accounts.users SET role = 'admin'")
    assert (await ada.get("/v1/admin/users"))["data"][0]["user_name"] == "ada"
    status, _, found = await ada.call("POST", "/v1/worker/jobs/claim", json={})
    assert (status, found["code"]) == (403, "forbidden")


async def test_parallel_log_ins_each_have_a_session(visitor: Client, base: str, pool: Pool) -> None:
    for number in range(8):
        await an_account(pool, f"user{number}")

    async def one(number: int) -> None:
        async with visiting(base) as client:
            await log_in(client, f"user{number}")
            assert (await client.get(ACCOUNT))["user_name"] == f"user{number}"

    await asyncio.gather(*(one(number) for number in range(8)))
