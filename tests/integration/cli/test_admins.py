"""Admins from the command line: created with a password from standard input, promoted, listed, revoked."""

import subprocess
import sys

import pytest

from gengui_stream.accounts import users
from gengui_stream.accounts.keys.api_keys import authenticate, seed_user
from gengui_stream.accounts.passwords import PasswordHashes
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.visitors import an_account, audited
from tests.integration.commands import command
from tests.integration.role_process import environment

pytestmark = pytest.mark.stack

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"
FINDING, USAGE = 1, 2


def with_input(settings: Settings, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gengui_stream.cli", *arguments],
        env=environment(settings),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_an_admin_is_created_listed_and_revoked(settings: Settings, pool: Pool) -> None:
    assert (await command(settings, "admin", "list")).out == "none: `gengui-stream admin create` creates one\n"
    ran = with_input(settings, f"{PASSWORD}\n", "admin", "create", "--email", EMAIL, "--key")
    assert (ran.returncode, PASSWORD in ran.stdout + ran.stderr) == (0, False), ran.stderr
    key = ran.stdout.strip()
    principal = await authenticate(pool, key)
    assert principal is not None
    assert "ops" in principal.scopes
    user = await users.find_by_email(pool, EMAIL)
    assert user is not None
    assert user.email_verified_at is not None
    async with PasswordHashes(1) as hashes:
        assert (await hashes.verify(user.password_hash, PASSWORD)).matches
    [listed] = (await command(settings, "admin", "list", "--json")).document
    assert (listed["email"], listed["keys"]) == (EMAIL, 1)
    assert (await command(settings, "admin", "revoke", EMAIL)).code == 0
    principal = await authenticate(pool, key)
    assert principal is not None
    assert principal.scopes == {"generations:read", "generations:write"}
    assert (await command(settings, "admin", "list", "--json")).document == []
    assert await audited(pool) == ["user.created", "key.created", "role.changed"]


async def test_a_user_becomes_an_admin_and_its_sessions_end(settings: Settings, pool: Pool) -> None:
    user_id = await an_account(pool, "ada")
    await pool.execute(
        "INSERT INTO accounts.sessions (token_hash, session_id, user_id, expires_at, address, user_agent)"
        " VALUES ('\\x01', $1, $1, now() + interval '1 day', '', '')",
        user_id,
    )
    before = await users.find(pool, user_id)
    made = (await command(settings, "admin", "create", "--email", EMAIL.upper(), "--json")).document
    assert (made["role"], made["created"]) == ("admin", False)
    after = await users.find(pool, user_id)
    assert before is not None
    assert after is not None
    assert (after.role, after.password_hash) == ("admin", before.password_hash)
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0
    assert (await command(settings, "admin", "create", "--email", EMAIL)).code == 0, "it may be repeated"
    assert await audited(pool) == ["role.changed"]


async def test_a_sign_up_that_was_not_verified_becomes_no_admin(settings: Settings, pool: Pool) -> None:
    """Its password may be that of a stranger, who signed up with the address of another."""
    user_id = await an_account(pool, "ada", verified=False)
    ran = await command(settings, "admin", "create", "--email", EMAIL)
    assert (ran.code, "is not verified" in ran.err) == (FINDING, True), ran.err
    user = await users.find(pool, user_id)
    assert user is not None
    assert user.role == "user"
    await pool.execute("UPDATE accounts.users SET email_verified_at = now()")
    assert (await command(settings, "admin", "create", "--email", EMAIL)).code == 0


@pytest.mark.parametrize("password", ["", "short", "no-echo", "x" * 1_001])
async def test_a_password_that_the_api_would_refuse_is_refused(settings: Settings, pool: Pool, password: str) -> None:
    ran = with_input(settings, f"{password}\n", "admin", "create", "--email", EMAIL)
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert not password or password not in ran.stderr
    assert await pool.fetchval("SELECT count(*) FROM accounts.users") == 0


async def test_accounts_of_machines_stay_what_they_are(settings: Settings, pool: Pool) -> None:
    await seed_user(pool, "worker@example.com", "worker")
    ran = await command(settings, "admin", "create", "--email", "worker@example.com")
    assert (ran.code, "account of machines" in ran.err) == (FINDING, True)
    assert (await command(settings, "admin", "revoke", "unknown@example.com")).code == FINDING
