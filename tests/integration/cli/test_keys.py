"""Users and keys from the command line: created, listed, revoked; and what `seed` refuses."""

import pytest

from gengui_stream.accounts.api_keys import authenticate
from gengui_stream.accounts.key_cache import KEY_CACHE_S, KeyCache
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
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
    assert [key["key_id"] for key in keys] == [first[3:11], second[3:11]]
    assert {(key["email"], key["role"], key["revoked_at"]) for key in keys} == {(USER, "user", None)}
    plain = (await command(settings, "keys", "list")).out
    assert (first[3:11] in plain, "w@example.com" in plain, first in plain) == (True, True, False)

    revoked = await command(settings, "keys", "revoke", first, "--json")
    assert (revoked.code, revoked.document["key_id"], revoked.document["accepted_for_s"]) == (0, first[3:11], 5.0)
    assert await authenticate(pool, first) is None
    assert await authenticate(pool, second) is not None
    again = await command(settings, "keys", "revoke", first[3:11])
    assert (again.code, again.out) == (0, f"{first[3:11]} of {USER} is revoked; it is refused within 5 s\n")
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


async def test_a_revoked_key_is_refused_once_the_cache_has_forgotten_it(settings: Settings, pool: Pool) -> None:
    key = (await command(settings, "seed", "--email", USER)).out.strip()
    now = 100.0
    cache = KeyCache(pool, lambda: now)
    assert await cache.principal(key) is not None
    await command(settings, "keys", "revoke", key[3:11])
    now += KEY_CACHE_S - 0.1
    assert await cache.principal(key) is not None
    now += 0.2
    assert await cache.principal(key) is None
