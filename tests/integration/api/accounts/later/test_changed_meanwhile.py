"""A request whose password was verified, and is that of the account no longer when its transaction begins."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import pytest
from argon2 import PasswordHasher

from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.passwords import PASSWORD, hashed
from tests.integration.api.accounts.visitors import an_account, audited, log_in, mailed
from tests.integration.api.client import Client
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

Request: TypeAlias = tuple[str, str, Mapping[str, str]]
"""Method, path and body."""

NEW: Final = "another password!"
REQUESTS: Final[Mapping[str, Request]] = {
    "password": ("PUT", "/v1/account/password", {"current_password": PASSWORD, "new_password": "a third password"}),
    "name": ("PATCH", "/v1/account", {"user_name": "grace", "password": PASSWORD}),
    "address": ("POST", "/v1/account/email", {"email": "evil@example.com", "password": PASSWORD}),
    "deletion": ("DELETE", "/v1/account", {"password": PASSWORD}),
}


class Verification:
    """The next one ends once it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.released, verify = threading.Event(), threading.Event(), PasswordHasher.verify

        def slow(hasher: PasswordHasher, known: str | bytes, password: str | bytes) -> bool:
            found = verify(hasher, known, password)
            self.begun.set()
            assert self.released.wait(30)
            return found

        monkeypatch.setattr(PasswordHasher, "verify", slow)

    async def changed_meanwhile(self, pool: Pool) -> None:
        """The hash is another one, and no session is left, as after a change elsewhere."""

        async def begun() -> bool:
            return self.begun.is_set()

        await eventually(begun)
        await pool.execute("UPDATE accounts.users SET password_hash = $1", hashed(NEW))
        await pool.execute("DELETE FROM accounts.sessions")
        self.released.set()


async def meanwhile(client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch, request: Request) -> tuple[int, Any]:
    verification = Verification(monkeypatch)
    async with asyncio.TaskGroup() as group:
        method, path, body = request
        sent = group.create_task(client.call(method, path, json=body))
        await verification.changed_meanwhile(pool)
    status, _, found = sent.result()
    return status, found["code"] if found else None


async def test_a_log_in_with_the_former_password_opens_no_session(
    visitor: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await an_account(pool, "ada")
    body = {"login": "ada", "password": PASSWORD}
    found = await meanwhile(visitor, pool, monkeypatch, ("POST", "/v1/auth/login", body))
    assert found == (401, "invalid_credentials")
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0
    assert await audited(pool) == ["login.failed"]
    await log_in(visitor, "ada", NEW)


@pytest.mark.parametrize("change", REQUESTS)
async def test_a_change_with_the_former_password_is_refused(
    ada: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    row = "SELECT email, user_name, delete_after FROM accounts.users"
    before = await pool.fetchrow(row)
    assert await meanwhile(ada, pool, monkeypatch, REQUESTS[change]) == (403, "wrong_password")
    assert await pool.fetchrow(row) == before
    assert await mailed(pool) == []
    assert await audited(pool) == ["login.succeeded"]
