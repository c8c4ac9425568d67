"""Neither answers nor time tell whether an address has an account: for known and unknown ones the same statements run
and the same number of passwords is hashed. The times are compared too, by a sign test, which noise of any size does not
mislead: known and unknown addresses take turns, and it counts the rounds in which one of them took clearly longer.
Noise is on both sides; what is missing for one of them, such as the dummy hash, is on one side in all rounds."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from api.server import served_api
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import CHEAP, PASSWORD
from tests.integration.api.accounts.visitors import an_account, visiting
from tests.integration.api.accounts.visitors import log_in as open_session
from tests.integration.api.client import Client
from tests.integration.running import eventually, role_context

ROUNDS: Final = 40
"""Two requests each: fewer failures to log in than lock out."""
CLEARLY: Final = 1.25
ONE_SIDED: Final = 34
"""Of 40 fair coins, this many or more fall on one side in one of 100,000 trials."""
COSTLY: Final = replace(CHEAP, memory_cost=8_192)
"""A hash takes several times as long as the rest of a request."""


@pytest_asyncio.fixture
async def base(settings: Settings) -> AsyncIterator[str]:
    async with served_api(role_context(settings), COSTLY) as port, aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{port}"

        async def ready() -> bool:
            async with session.get(f"{address}/readyz") as answer:
                return answer.status == 200

        await eventually(ready)
        yield address


# Each sends a request for the address of this name, and returns the status.
async def log_in(client: Client, name: str) -> int:
    body = {"login": f"{name}@example.com", "password": "a wrong password"}
    return (await client.call("POST", "/v1/auth/login", json=body))[0]


async def sign_up(client: Client, name: str) -> int:
    body = {"email": f"{name}@example.com", "user_name": f"{name}_again", "password": PASSWORD}
    return (await client.call("POST", "/v1/auth/signup", json=body))[0]


async def reset(client: Client, name: str) -> int:
    return (await client.call("POST", "/v1/auth/password-reset", json={"email": f"{name}@example.com"}))[0]


async def resend(client: Client, name: str) -> int:
    return (await client.call("POST", "/v1/auth/resend-verification", json={"email": f"{name}@example.com"}))[0]


async def change_email(client: Client, name: str) -> int:
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    return (await client.call("POST", "/v1/account/email", json=body))[0]


@dataclass
class Work:
    """What the API did for one request."""

    statements: list[str] = field(default_factory=list)
    hashes: int = 0
    seconds: float = 0.0


@contextmanager
def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Work]]:
    """The last one of the list counts what happens now. Statements of readiness are left out."""
    works = [Work()]
    execute = getattr(asyncpg.Connection, "_execute")  # noqa: B009 - the stubs do not have it
    verify, make = PasswordHasher.verify, PasswordHasher.hash

    async def executed(self: Any, query: str, *args: Any, **more: Any) -> Any:
        if "accounts." in query:
            works[-1].statements.append(query)
        return await execute(self, query, *args, **more)

    def verified(self: PasswordHasher, known: str | bytes, password: str | bytes) -> bool:
        works[-1].hashes += 1
        return verify(self, known, password)

    def hashed(self: PasswordHasher, password: str | bytes, *, salt: bytes | None = None) -> str:
        works[-1].hashes += 1
        return make(self, password, salt=salt)

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "_execute", executed)
        patched.setattr(PasswordHasher, "verify", verified)
        patched.setattr(PasswordHasher, "hash", hashed)
        yield works


CASES: Final = {
    "log_in": (log_in, 401, 1),
    "sign_up": (sign_up, 202, 1),
    "reset": (reset, 202, 0),
    "resend": (resend, 202, 0),
    "change_email": (change_email, 202, 1),
}
"""The request, its status, and the passwords that are hashed for it."""

NEED_A_SESSION: Final = {"change_email"}


@pytest.mark.parametrize("case", CASES)
async def test_the_same_work_is_done_for_known_and_unknown_addresses(
    base: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    ask, status, hashes = CASES[case]
    for number in range(ROUNDS):
        await an_account(pool, f"known{number}", profile=COSTLY)
    found: dict[str, list[Work]] = {"known": [], "unknown": []}
    async with visiting(base) as client:
        if case in NEED_A_SESSION:
            await an_account(pool, "ada", profile=COSTLY)
            await open_session(client, "ada")
        await ask(client, "first")  # prepares statements
        with observed(monkeypatch) as works:
            for number in range(ROUNDS):
                for kind in sorted(found, reverse=number % 2 == 0):
                    works.append(Work())
                    began = time.perf_counter()
                    assert await ask(client, f"{kind}{number}") == status
                    works[-1].seconds = time.perf_counter() - began
                    found[kind].append(works[-1])
    assert {work.hashes for kind in found for work in found[kind]} == {hashes}
    statements = {tuple(work.statements) for kind in found for work in found[kind]}
    assert len(statements) == 1, statements
    assert len(next(iter(statements))) >= 3
    seconds = {kind: [work.seconds for work in found[kind]] for kind in found}
    pairs = pairwise(["known", "unknown", "known"])
    longer = {kind: rounds_longer(seconds[kind], seconds[other]) for kind, other in pairs}
    print("; ".join(f"{kind}: {median(seconds[kind]) * 1000:.2f} ms, longer in {longer[kind]}" for kind in longer))
    assert max(longer.values()) < ONE_SIDED, longer


def rounds_longer(some: Sequence[float], others: Sequence[float]) -> int:
    return sum(one > CLEARLY * other for one, other in zip(some, others, strict=True))
