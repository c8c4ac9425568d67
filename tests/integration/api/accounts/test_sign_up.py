"""Sign-up and verification. An address that has an account gets the same answers as one that has none."""

import asyncio
from datetime import timedelta

import aiohttp
import pytest

from gengui_stream.accounts.deletion import release_sign_ups
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, audited, log_in, mailed, token_for, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

SIGN_UP, VERIFY, RESEND = "/v1/auth/signup", "/v1/auth/verify-email", "/v1/auth/resend-verification"
USERS = "SELECT count(*) FROM accounts.users"


async def signed_up(visitor: Client, email: str, user_name: str) -> tuple[int, str]:
    """Status, and the code or the answer without the address."""
    body = {"email": email, "user_name": user_name, "password": PASSWORD}
    status, _, found = await visitor.call("POST", SIGN_UP, json=body)
    return status, found.get("code") or found["detail"].replace(email, "ADDRESS")


async def logged_in(visitor: Client, login: str, password: str = PASSWORD) -> int:
    return (await visitor.call("POST", "/v1/auth/login", json={"login": login, "password": password}))[0]


async def test_a_sign_up_is_complete_after_the_link_in_the_email(visitor: Client, pool: Pool) -> None:
    assert (await signed_up(visitor, "Ada@Example.COM", "ada"))[0] == 202
    [(kind, user_id, recipient)] = await mailed(pool)
    assert (kind, recipient) == ("verification", "Ada@example.com")
    assert user_id is not None
    assert await logged_in(visitor, "ada") == 401, "not before that"
    token = await token_for(pool, user_id, "verify_email", recipient)
    assert (await visitor.call("POST", VERIFY, json={"token": token}))[0] == 204
    assert (await log_in(visitor, "ada@example.com"))["email_verified"] is True
    types = ["account.created", "login.failed", "email.verified", "login.succeeded"]
    assert await audited(pool) == types
    stored = str(await pool.fetch("TABLE accounts.users")) + str(await pool.fetch("TABLE accounts.one_time_tokens"))
    assert PASSWORD not in stored
    assert "$argon2id$" in stored
    assert token not in stored


async def test_a_known_address_gets_the_same_answer_and_another_email(visitor: Client, pool: Pool) -> None:
    user_id = await an_account(pool, "ada")
    known, new = await signed_up(visitor, "ADA@example.com", "one"), await signed_up(visitor, "b@example.com", "two")
    assert known == new == (202, "an e-mail to ADDRESS has the link to go on")
    assert (await mailed(pool))[0] == ("address_taken", user_id, "ada@example.com")
    assert await pool.fetchval(USERS) == 2
    assert (await log_in(visitor, "ada"))["user_name"] == "ada"


async def test_a_taken_name_is_refused_whatever_the_address(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    for email in ("ada@example.com", "new@example.com"):
        assert await signed_up(visitor, email, "ADA") == (409, "user_name_taken")
    assert await mailed(pool) == []


async def test_whether_a_name_is_taken_later_does_not_tell_whether_the_address_was_known(
    visitor: Client, pool: Pool
) -> None:
    await an_account(pool, "ada")
    for email, name in (("ada@example.com", "first"), ("new@example.com", "second")):
        assert (await signed_up(visitor, email, name))[0] == 202
        assert await signed_up(visitor, email, name) == (409, "user_name_taken")
        assert await signed_up(visitor, "other@example.com", name.upper()) == (409, "user_name_taken")


async def test_names_are_free_again_alike_for_known_and_new_addresses(visitor: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    signed = (("ada@example.com", "first"), ("new@example.com", "second"))
    for email, name in signed:
        assert (await signed_up(visitor, email, name))[0] == 202
    await pool.execute("UPDATE accounts.reserved_names SET signed_up_at = signed_up_at - interval '8 days'")
    assert await release_sign_ups(pool, timedelta(days=7)) == 2
    answers = {await signed_up(visitor, email, name) for email, name in signed}
    assert answers == {(202, "an e-mail to ADDRESS has the link to go on")}
    kinds = [kind for kind, _, _ in await mailed(pool)]
    assert sorted(kinds) == ["address_taken", "address_taken", "verification"]


async def test_a_log_in_after_a_sign_up_does_not_tell_whether_the_address_was_known(
    visitor: Client, pool: Pool
) -> None:
    await an_account(pool, "ada")
    for email, name in (("ada@example.com", "first"), ("new@example.com", "second")):
        assert (await signed_up(visitor, email, name))[0] == 202
        assert await logged_in(visitor, name) == 401


async def test_of_parallel_sign_ups_with_one_address_or_one_name_one_counts(visitor: Client, pool: Pool) -> None:
    by_address = await asyncio.gather(*(signed_up(visitor, "ada@example.com", f"name{n}") for n in range(5)))
    assert {status for status, _ in by_address} <= {202, 409}
    assert await pool.fetchval(USERS) == 1
    by_name = await asyncio.gather(*(signed_up(visitor, f"user{n}@example.com", "grace") for n in range(5)))
    assert sorted(status for status, _ in by_name) == [202, 409, 409, 409, 409]
    assert await pool.fetchval(USERS) == 2


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"email": "ada"}, "email"),
    ({"email": "ada@localhost"}, "email"),
    ({"email": "Ada <ada@example.com>"}, "email"),
    ({"email": "ada@example.com\r\nBcc: all@example.com"}, "email"),
    ({"email": "a" * 65 + "@example.com"}, "email"),
    ({"email": "ä@example.com"}, "email"),
    ({"email": 5}, "email"),
    ({"user_name": "ad"}, "user_name"),
    ({"user_name": "a" * 51}, "user_name"),
    ({"user_name": "ada lovelace"}, "user_name"),
    ({"user_name": "ada\n"}, "user_name"),
    ({"user_name": "аda"}, "user_name"),  # a Cyrillic letter
    ({"password": "short!"}, "password"),
    ({"password": "longer78"}, "password"),
    ({"password": "p" * 1_001}, "password"),
    ({"password": None}, "password"),
    ({"role": "admin"}, "role"),
]


async def test_invalid_fields_are_named_with_their_limit(visitor: Client, pool: Pool) -> None:
    valid: dict[str, object] = {"email": "ada@example.com", "user_name": "ada", "password": PASSWORD}
    for change, field in REFUSED:
        status, _, found = await visitor.call("POST", SIGN_UP, json={**valid, **change})
        assert (status, found.get("code")) == (422, "invalid_request"), change
        assert [each["field"] for each in found["errors"]] == [field], change
        assert str(change.get(field)) not in str(found), "a value is not repeated"
    _, _, found = await visitor.call("POST", SIGN_UP, json={**valid, "password": "longer78"})
    assert "special character" in found["errors"][0]["message"]
    assert "16" in found["errors"][0]["message"]
    for password in ("eight8!!", "p" * 16, "пароль-пароль", "\U0001f600" * 1_000):
        name = f"user_{abs(hash(password))}"
        status, _, _ = await visitor.call(
            "POST", SIGN_UP, json={"email": f"{name}@example.com", "user_name": name, "password": password}
        )
        assert status == 202, password[:20]
        await pool.execute("UPDATE accounts.users SET email_verified_at = now()")
        await log_in(visitor, name, password)


async def test_another_email_is_sent_to_accounts_that_are_not_verified(visitor: Client, pool: Pool) -> None:
    new = await an_account(pool, "new", verified=False)
    await an_account(pool, "verified")
    answers = []
    for email in ("new@example.com", "verified@example.com", "none@example.com"):
        status, _, found = await visitor.call("POST", RESEND, json={"email": email})
        answers.append((status, found["detail"].replace(email, "ADDRESS")))
    assert len(set(answers)) == 1
    assert answers[0][0] == 202
    users = {"new": new, "verified": None, "none": None}
    assert await mailed(pool) == [("verification", user_id, f"{name}@example.com") for name, user_id in users.items()]


async def test_an_operator_can_close_the_sign_up(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    await an_account(pool, "ada")
    async with serving(settings.model_copy(update={"sign_up": "closed"}), session) as base, visiting(base) as visitor:
        for email in ("ada@example.com", "new@example.com"):
            assert await signed_up(visitor, email, "grace") == (403, "sign_up_closed")
        await log_in(visitor, "ada")
    assert await pool.fetchval(USERS) == 1


@pytest.mark.parametrize("form", ["café-pass", "cafe\u0301-pass"])
async def test_a_password_is_the_same_however_a_keyboard_composes_it(visitor: Client, pool: Pool, form: str) -> None:
    body = {"email": "ada@example.com", "user_name": "ada", "password": form}
    assert (await visitor.call("POST", SIGN_UP, json=body))[0] == 202
    await pool.execute("UPDATE accounts.users SET email_verified_at = now()")
    await log_in(visitor, "ada", "café-pass")
