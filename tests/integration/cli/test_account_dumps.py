"""`accounts dump` and `load`: users and keys survive the loss of the database, and no file is taken for another."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gengui_stream.accounts.account_dump import PAGE, dump_accounts, load_accounts
from gengui_stream.accounts.keys.api_keys import authenticate
from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.commands import command
from tests.integration.mail.users import a_user
from tests.integration.role_process import environment

pytestmark = pytest.mark.stack

KEY = Fernet.generate_key().decode()
EMPTY = "TRUNCATE accounts.users, accounts.api_keys, accounts.idempotency_keys CASCADE"


def names_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


async def rows(pool: Pool) -> list[list[str]]:
    tables = ("users", "api_keys", "idempotency_keys")
    return [sorted(map(str, await pool.fetch(f"SELECT * FROM accounts.{table}"))) for table in tables]


async def test_a_lost_database_gets_its_accounts_back(settings: Settings, pool: Pool, tmp_path: Path) -> None:
    given = environment(settings) | {"ACCOUNTS_DUMP_KEY": (await command(settings, "accounts", "new-key")).out.strip()}
    key = (await command(settings, "seed", "--email", "you@example.com")).out.strip()
    before, file = await rows(pool), tmp_path / "accounts.dump"
    dumped = await command(given, "accounts", "dump", str(file), "--json")
    assert dumped.document == {"file": str(file), "bytes": file.stat().st_size}
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"you@example.com" not in file.read_bytes()
    assert names_in(tmp_path) == [file.name]
    await pool.execute(EMPTY)
    assert await authenticate(pool, key) is None
    assert (await command(given, "accounts", "load", str(file), "--json")).document == {"users": 1, "api_keys": 1}
    assert await rows(pool) == before
    assert await authenticate(pool, key) is not None
    again = await command(given, "accounts", "load", str(file))
    assert (again.code, again.out) == (0, "users 0, api_keys 0\n")


async def test_what_cannot_be_done_is_refused_with_the_remedy(settings: Settings, tmp_path: Path) -> None:
    file, given = tmp_path / "a.dump", environment(settings) | {"ACCOUNTS_DUMP_KEY": KEY}
    await command(given, "accounts", "dump", str(file))
    other = given | {"ACCOUNTS_DUMP_KEY": Fernet.generate_key().decode()}
    for environ, arguments, code, words in (
        (environment(settings), ("dump", str(tmp_path / "b")), 78, "ACCOUNTS_DUMP_KEY: needed"),
        (given | {"ACCOUNTS_DUMP_KEY": "secret-text"}, ("dump", str(file)), 78, "URL-safe base64"),
        (given, ("dump", str(file)), 1, "is there already"),
        (given, ("dump", str(tmp_path / "no" / "b")), 1, "No such file"),
        (given, ("load", str(tmp_path / "no")), 1, "No such file"),
        (other, ("load", str(file)), 1, "ACCOUNTS_DUMP_KEY is not the key of this file"),
    ):
        ran = await command(environ, "accounts", *arguments)
        assert (ran.code, words in ran.err) == (code, True), ran
        assert "secret-text" not in ran.err


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "cut off": lambda lines: lines[:-1],
    "a page left out": lambda lines: lines[:1] + lines[2:],
    "a page twice": lambda lines: [lines[0], *lines],
    "pages exchanged": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a byte changed": lambda lines: [lines[0], lines[1][:50] + bytes([lines[1][50] ^ 1]) + lines[1][51:], *lines[2:]],
    "empty": lambda _: [],
    "another file's end": lambda lines: [*lines, lines[-1]],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_of_a_damaged_file_nothing_is_loaded(pool: Pool, damage: Callable[[list[bytes]], list[bytes]]) -> None:
    users = "SELECT gen_random_uuid(), n || '@example.com', 'user' FROM generate_series(1, $1) n"
    await pool.execute(f"INSERT INTO accounts.users {users}", 2 * PAGE + 1)
    lines = [line async for line in dump_accounts(pool, KEY)]
    assert len(lines) == 4
    await pool.execute(EMPTY)
    with pytest.raises(PermanentError):
        await load_accounts(pool, KEY, damage(lines))
    assert await rows(pool) == [[], [], []]
    assert await load_accounts(pool, KEY, lines) == {"users": 2 * PAGE + 1}


async def test_a_user_who_is_there_with_another_id_is_not_mixed_up(settings: Settings, pool: Pool) -> None:
    await command(settings, "seed", "--email", "you@example.com")
    lines = [line async for line in dump_accounts(pool, KEY)]
    await pool.execute(EMPTY)
    await command(settings, "seed", "--email", "you@example.com")
    before = await rows(pool)
    with pytest.raises(PermanentError, match="belongs to another user"):
        await load_accounts(pool, KEY, lines)
    assert await rows(pool) == before


async def test_a_user_without_keys_is_not_left_out_in_silence(pool: Pool) -> None:
    user = "INSERT INTO accounts.users SELECT gen_random_uuid(), 'you@example.com', 'user'"
    await pool.execute(user)
    lines = [line async for line in dump_accounts(pool, KEY)]
    await pool.execute(EMPTY)
    await pool.execute(user)
    with pytest.raises(PermanentError, match="belongs to another user"):
        await load_accounts(pool, KEY, lines)


NEWER: dict[str, dict[str, object]] = {
    "another table": {"format": 1, "table": "teams", "rows": [{"team_id": 1}]},
    "another format": {"format": 2, "number": "one", "pages": []},
}


@pytest.mark.parametrize("content", NEWER.values(), ids=NEWER)
async def test_a_file_of_a_newer_release_is_named_as_that(pool: Pool, content: dict[str, object]) -> None:
    line = Fernet(KEY).encrypt(json.dumps({"dump": "1", "number": 1} | content).encode())
    with pytest.raises(PermanentError, match="of a newer release"):
        await load_accounts(pool, KEY, [line])


async def test_accounts_of_people_come_back_without_their_sessions(pool: Pool) -> None:
    user_id = await a_user(pool, verified=True)
    await pool.execute(
        "UPDATE accounts.users SET preferences = '{\"width\": 512}', daily_limit = 7, in_progress_limit = 3,"
        " delete_after = '2027-01-01'"
    )
    await pool.execute("INSERT INTO accounts.reserved_names (name, user_id) VALUES ('ada', $1)", user_id)
    await pool.execute(
        "INSERT INTO accounts.sessions (token_hash, session_id, user_id, expires_at, address, user_agent)"
        " VALUES ('t', gen_random_uuid(), $1, now() + interval '1 day', '', '')",
        user_id,
    )
    before = await pool.fetch("TABLE accounts.users")
    lines = [line async for line in dump_accounts(pool, KEY)]
    await pool.execute(EMPTY)
    assert await load_accounts(pool, KEY, lines) == {"users": 1, "reserved_names": 1}
    assert await pool.fetch("TABLE accounts.users") == before
    assert await pool.fetchval("SELECT user_id FROM accounts.reserved_names WHERE name = 'ada'") == user_id
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0


async def test_a_dump_of_the_release_before_is_loaded(pool: Pool) -> None:
    """Its rows have the columns of that release alone."""
    cipher, user_id = Fernet(KEY), "0195b7a0-0000-7000-8000-000000000000"
    key: dict[str, object] = {"key_id": "deadbeef", "user_id": user_id, "secret_hash": "\\x00", "revoked_at": None}
    user: dict[str, object] = {"user_id": user_id, "email": "you@example.com", "role": "user"}
    moment: dict[str, object] = {"created_at": "2026-11-01T00:00:00+00:00"}
    contents: list[dict[str, object]] = [
        {"table": "users", "rows": [user | moment]},
        {"table": "api_keys", "rows": [key | moment]},
        {"counts": {"users": 1, "api_keys": 1}},
    ]
    common: dict[str, object] = {"dump": "d", "format": 1}
    lines = [
        cipher.encrypt(json.dumps(common | {"number": number, **content}).encode()) + b"\n"
        for number, content in enumerate(contents, start=1)
    ]
    assert await load_accounts(pool, KEY, lines) == {"users": 1, "api_keys": 1}
    found = await pool.fetchrow("SELECT name, scopes, expires_at FROM accounts.api_keys")
    assert found is not None
    assert tuple(found) == ("", None, None)
    assert await pool.fetchval("SELECT email_verified_at FROM accounts.users") is None
