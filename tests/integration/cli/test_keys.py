"""Users and keys from the command line: created, listed, revoked; and what `seed` refuses."""

import re
from datetime import datetime, timedelta

import pytest

from gengui_stream.accounts import audit_events
from gengui_stream.accounts.keys.api_keys import authenticate, seed_user
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.client import key_id
from tests.integration.commands import command

pytestmark = pytest.mark.stack

FINDING, USAGE = 1, 2
USER = "you@example.com"


async def test_a_key_is_created_listed_and_revoked(settings: Settings, pool: Pool) -> None:
    empty = await command(settings, "keys", "list")
    assert (empty.code, empty.out) == (0, "none: `gengui-stream seed` creates a user and a key\n")
    assert (await command(settings, "users", "list")).out == "none: `gengui-stream seed` creates one\n"
    first = (await command(settings, "seed", "--email", USER)).out.strip()
    second = (await command(settings, "keys", "create", USER, "--json")).document["key"]
    await command(settings, "seed", "--email", "w@example.com", "--role", "worker")

    keys = (await command(settings, "keys", "list", "--email", USER, "--json")).document
    assert [key["key_id"] for key in keys] == [key_id(first), key_id(second)]
    assert {(key["email"], key["role"], key["revoked_at"]) for key in keys} == {(USER, "user", None)}
    plain = (await command(settings, "keys", "list")).out
    assert (key_id(first) in plain, "w@example.com" in plain, first in plain) == (True, True, False)
    assert len(re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} +never +never +no", plain)) == 3

    revoked = await command(settings, "keys", "revoke", first, "--json")
    assert (revoked.code, revoked.document["key_id"]) == (0, key_id(first))
    assert await authenticate(pool, first) is None
    assert await authenticate(pool, second) is not None
    again = await command(settings, "keys", "revoke", key_id(first))
    assert (again.code, again.out) == (0, f"{key_id(first)} of {USER} is revoked, and refused from now on\n")
    users = (await command(settings, "users", "list", "--json")).document
    assert [(user["email"], user["role"], user["keys"]) for user in users] == [
        (USER, "user", 1),
        ("w@example.com", "worker", 1),
    ]


async def test_what_is_not_there_is_a_finding_with_a_remedy(settings: Settings) -> None:
    ran = await command(settings, "keys", "revoke", "00000000")
    assert (ran.code, "keys list" in ran.err) == (FINDING, True)
    ran = await command(settings, "keys", "create", "unknown@example.com")
    assert (ran.code, "seed --email unknown@example.com" in ran.err) == (FINDING, True)


@pytest.mark.parametrize(
    "arguments",
    [
        *(("seed", "--email", email) for email in ("notanemail", "", "a b@example.com", "a@", "@b", "a@b\x1b[31m")),
        ("seed", "--email", "x" * 65 + "@example.com"),
        ("seed", "--role", "worker"),
        ("seed", "--role", "admin"),
        ("keys", "revoke", "not-an-id"),
        ("keys", "create", "notanemail"),
    ],
)
async def test_what_is_no_address_and_no_id_is_a_fault_of_usage(settings: Settings, arguments: tuple[str, ...]) -> None:
    ran = await command(settings, *arguments)
    assert (ran.code, ran.out) == (USAGE, ""), ran
    assert "\x1b" not in ran.err


async def test_seed_changes_no_role(settings: Settings, pool: Pool) -> None:
    key = (await command(settings, "seed", "--email", USER)).out.strip()
    ran = await command(settings, "seed", "--email", USER, "--role", "worker")
    assert (ran.code, ran.out) == (FINDING, "")
    assert f"{USER} exists with the role user, which is not changed" in ran.err
    principal = await authenticate(pool, key)
    assert principal is not None
    assert principal.role == "user"
    assert len((await command(settings, "keys", "list", "--json")).document) == 1, "no key was made"


async def test_a_key_has_a_name_scopes_and_an_end(settings: Settings, pool: Pool) -> None:
    await command(settings, "seed", "--email", USER, "--name", "first")
    options = ("--name", "laptop", "--scope", "generations:read", "--expires", "90d", "--json")
    made = (await command(settings, "keys", "create", USER, *options)).document
    assert (made["name"], made["scopes"], made["key"][8:16]) == ("laptop", ["generations:read"], made["key_id"])
    expires = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert timedelta(days=89, hours=23) < expires <= timedelta(days=90)
    principal = await authenticate(pool, made["key"])
    assert principal is not None
    assert principal.scopes == {"generations:read"}
    keys = (await command(settings, "keys", "list", "--json")).document
    assert [key["name"] for key in keys] == ["first", "laptop"]
    await pool.execute("UPDATE accounts.api_keys SET expires_at = now() WHERE name = 'laptop'")
    assert await authenticate(pool, made["key"]) is None
    trail = await audit_events.page(pool, type_=None, subject_id=None, before=None, limit=10)
    assert [event.type for event in trail] == ["key.created", "key.created", "user.created"]
    assert {event.address for event in trail} == {"local"}
    assert all(isinstance(event.detail, dict) and event.detail["operator"] for event in trail)
    assert not any(made["key"][17:] in str(event) for event in trail)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ("--scope", "ops"),
            FINDING,
            "the role user does not allow ops; it allows generations:read, generations:write",
        ),
        (("--scope", "everything"), USAGE, "--scope"),
        (("--expires", "2020-01-01"), USAGE, "the time is past"),
        (("--expires", "soon"), USAGE, "90d, 12h or 30m"),
        (("--name", "x" * 101), USAGE, "100 printable"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    settings: Settings, pool: Pool, options: tuple[str, ...], code: int, said: str
) -> None:
    await seed_user(pool, USER, "user")
    ran = await command(settings, "keys", "create", USER, *options)
    assert (ran.code, ran.out) == (code, "")
    assert said in " ".join(ran.err.replace("│", " ").split())
    assert await pool.fetchval("SELECT count(*) FROM accounts.api_keys") == 1
