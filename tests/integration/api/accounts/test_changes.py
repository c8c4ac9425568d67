"""Changes of passwords, names and addresses, and the tokens that are sent by e-mail."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import aiohttp
import pytest

from gengui_stream.accounts.one_time_tokens import KEPT, Purpose
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, audited, log_in, mailed, token_for, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

ACCOUNT, CHANGE, EMAIL = "/v1/account", "/v1/account/password", "/v1/account/email"
RESET, CONFIRM_RESET = "/v1/auth/password-reset", "/v1/auth/password-reset/confirm"
VERIFY, CONFIRM_EMAIL = "/v1/auth/verify-email", "/v1/auth/confirm-email"
NEW = "another password!"

USES: list[tuple[Purpose, str, dict[str, str]]] = [
    ("verify_email", VERIFY, {}),
    ("reset_password", CONFIRM_RESET, {"password": NEW}),
    ("change_email", CONFIRM_EMAIL, {}),
]


async def user_id_of(client: Client) -> UUID:
    return UUID((await client.get(ACCOUNT))["id"])


async def test_a_changed_password_ends_all_other_sessions(ada: Client, base: str, pool: Pool) -> None:
    async with visiting(base) as phone:
        await log_in(phone, "ada")
        body = {"current_password": PASSWORD, "new_password": NEW}
        assert (await ada.call("PUT", CHANGE, json=body))[0] == 204
        assert [(await client.call("GET", ACCOUNT))[0] for client in (ada, phone)] == [200, 401]
        credentials = {"login": "ada", "password": PASSWORD}
        assert (await phone.call("POST", "/v1/auth/login", json=credentials))[0] == 401
        await log_in(phone, "ada", NEW)
    assert await mailed(pool) == [("password_changed", await user_id_of(ada), "ada@example.com")]
    assert "password.changed" in await audited(pool)


async def test_each_change_needs_the_current_password(ada: Client, pool: Pool) -> None:
    changes = [
        ("PUT", CHANGE, {"current_password": "x", "new_password": NEW}),
        ("PATCH", ACCOUNT, {"user_name": "grace", "password": "x"}),
        ("POST", EMAIL, {"email": "new@example.com", "password": "x"}),
    ]
    for method, path, body in changes:
        status, _, found = await ada.call(method, path, json=body)
        assert (status, found["code"]) == (403, "wrong_password"), path
    status, _, found = await ada.call("PUT", CHANGE, json={"current_password": PASSWORD, "new_password": PASSWORD})
    assert (status, found["errors"][0]["field"]) == (422, "new_password")
    assert await mailed(pool) == []


async def test_a_name_is_changed_unless_it_is_taken(ada: Client, visitor: Client, pool: Pool) -> None:
    await an_account(pool, "bob")
    status, _, found = await ada.call("PATCH", ACCOUNT, json={"user_name": "BOB", "password": PASSWORD})
    assert (status, found["code"]) == (409, "user_name_taken")
    for name in ("grace", "GRACE", "ada"):
        status, _, found = await ada.call("PATCH", ACCOUNT, json={"user_name": name, "password": PASSWORD})
        assert (status, found["user_name"]) == (200, name)
    body = {"email": "new@example.com", "user_name": "grace", "password": PASSWORD}
    status, _, found = await visitor.call("POST", "/v1/auth/signup", json=body)
    assert (status, found["code"]) == (409, "user_name_taken"), "a former name stays with its user"


async def test_a_forgotten_password_is_replaced_by_the_link(ada: Client, visitor: Client, pool: Pool) -> None:
    user_id = await user_id_of(ada)
    answers = []
    for email in ("ADA@example.com", "none@example.com"):
        status, _, found = await visitor.call("POST", RESET, json={"email": email})
        answers.append((status, found["detail"].replace(email, "ADDRESS")))
    assert answers[0] == answers[1]
    assert await mailed(pool) == [
        ("password_reset", user_id, "ada@example.com"),
        ("password_reset", None, "none@example.com"),
    ]
    token = await token_for(pool, user_id, "reset_password", "ada@example.com")
    assert (await visitor.call("POST", CONFIRM_RESET, json={"token": token, "password": NEW}))[0] == 204
    assert (await ada.call("GET", ACCOUNT))[0] == 401
    await log_in(visitor, "ada", NEW)
    assert (await mailed(pool))[-1] == ("password_changed", user_id, "ada@example.com")


async def test_an_address_is_changed_once_its_owner_confirms(ada: Client, visitor: Client, pool: Pool) -> None:
    user_id, bob_id = await user_id_of(ada), await an_account(pool, "bob")
    answers = []
    for email in ("New@example.com", "bob@example.com"):
        status, _, found = await ada.call("POST", EMAIL, json={"email": email, "password": PASSWORD})
        answers.append((status, found["detail"].replace(email, "ADDRESS")))
    assert answers[0] == answers[1]
    assert await mailed(pool) == [
        ("email_change", user_id, "New@example.com"),
        ("address_taken", bob_id, "bob@example.com"),
    ]
    assert (await ada.get(ACCOUNT))["email"] == "ada@example.com"
    token = await token_for(pool, user_id, "change_email", "New@example.com")
    assert (await visitor.call("POST", CONFIRM_EMAIL, json={"token": token}))[0] == 204
    assert (await ada.call("GET", ACCOUNT))[0] == 401
    assert (await log_in(visitor, "new@example.com"))["email"] == "New@example.com"
    assert (await mailed(pool))[-1] == ("email_changed", user_id, "ada@example.com")
    status, _, found = await visitor.call("POST", EMAIL, json={"email": "NEW@example.com", "password": PASSWORD})
    assert (status, found["errors"][0]["field"]) == (422, "email")


async def test_few_changes_of_the_address_are_requested_an_hour(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    """Each sends an e-mail to an address of any choice."""
    await an_account(pool, "ada")
    limited = settings.model_copy(update={"rate_limit_verification": 2})
    async with serving(limited, session) as base, visiting(base) as ada:
        await log_in(ada, "ada")
        bodies = [{"email": f"victim{number}@example.com", "password": PASSWORD} for number in range(3)]
        assert [(await ada.call("POST", EMAIL, json=body))[0] for body in bodies] == [202, 202, 429]
    assert len(await mailed(pool)) == 2


@pytest.mark.parametrize(("purpose", "path", "more"), [use for use in USES if use[0] != "change_email"])
async def test_another_e_mail_leaves_the_link_before_valid(
    visitor: Client, pool: Pool, purpose: Purpose, path: str, more: dict[str, str]
) -> None:
    """Anyone may request it. The use of one ends the others."""
    user_id = await an_account(pool, "ada")
    tokens = [await token_for(pool, user_id, purpose, "ada@example.com") for _ in range(KEPT[purpose])]
    found = [(await visitor.call("POST", path, json={"token": token, **more}))[0] for token in tokens]
    assert found == [204] + [422] * (len(tokens) - 1)


async def used(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    """A token that was used."""
    user_id = await an_account(pool, f"used_{purpose}")
    token = await token_for(pool, user_id, purpose, f"used_{purpose}@example.com")
    [(path, more)] = [(path, more) for known, path, more in USES if known == purpose]
    assert (await visitor.call("POST", path, json={"token": token, **more}))[0] == 204
    return token


async def expired(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    user_id = await an_account(pool, f"expired_{purpose}")
    token = await token_for(pool, user_id, purpose, f"expired_{purpose}@example.com")
    await pool.execute("UPDATE accounts.one_time_tokens SET expires_at = now() WHERE user_id = $1", user_id)
    return token


async def replaced(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    user_id = await an_account(pool, f"replaced_{purpose}")
    tokens = [
        await token_for(pool, user_id, purpose, f"replaced_{purpose}@example.com") for _ in range(KEPT[purpose] + 1)
    ]
    return tokens[0]


async def of_another_purpose(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    user_id = await an_account(pool, f"purpose_{purpose}")
    other: Purpose = "verify_email" if purpose != "verify_email" else "reset_password"
    return await token_for(pool, user_id, other, f"purpose_{purpose}@example.com")


async def of_a_former_address(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    """Or, for a change: to an address that another user has by now."""
    user_id = await an_account(pool, f"former_{purpose}")
    address = "taken@example.com" if purpose == "change_email" else f"former_{purpose}@example.com"
    token = await token_for(pool, user_id, purpose, address)
    if purpose == "change_email":
        await an_account(pool, "taken")
    else:
        await pool.execute("UPDATE accounts.users SET email = 'later@example.com' WHERE user_id = $1", user_id)
    return token


async def malformed(pool: Pool, visitor: Client, purpose: Purpose) -> str:
    return "gg_once_\x00"


Spoil = Callable[[Pool, Client, Purpose], Awaitable[str]]


@pytest.mark.parametrize(("purpose", "path", "more"), USES)
async def test_every_token_that_is_not_valid_is_refused_alike(
    visitor: Client, pool: Pool, purpose: Purpose, path: str, more: dict[str, str]
) -> None:
    spoils: list[Spoil] = [used, expired, replaced, of_another_purpose, of_a_former_address, malformed]
    tokens = [await spoil(pool, visitor, purpose) for spoil in spoils]
    before = await pool.fetch("SELECT * FROM accounts.users ORDER BY user_id")
    answers = []
    for token in (*tokens, "gg_once_" + "A" * 43, ""):
        status, _, found = await visitor.call("POST", path, json={"token": token, **more})
        answers.append((status, found["code"], found["detail"]))
    assert set(answers) == {(422, "invalid_token", answers[0][2])}
    assert await pool.fetch("SELECT * FROM accounts.users ORDER BY user_id") == before


@pytest.mark.parametrize("by", ["change", "reset"])
async def test_another_password_ends_pending_changes_of_the_address(
    ada: Client, visitor: Client, pool: Pool, by: str
) -> None:
    """They may have been requested with the former one."""
    user_id = await user_id_of(ada)
    body = {"email": "evil@example.com", "password": PASSWORD}
    assert (await ada.call("POST", EMAIL, json=body))[0] == 202
    pending = await token_for(pool, user_id, "change_email", "evil@example.com")
    if by == "change":
        body = {"current_password": PASSWORD, "new_password": NEW}
        assert (await ada.call("PUT", CHANGE, json=body))[0] == 204
    else:
        token = await token_for(pool, user_id, "reset_password", "ada@example.com")
        assert (await visitor.call("POST", CONFIRM_RESET, json={"token": token, "password": NEW}))[0] == 204
    assert (await visitor.call("POST", CONFIRM_EMAIL, json={"token": pending}))[0] == 422
    assert [kind for kind, _, _ in await mailed(pool)] == ["password_changed"]
