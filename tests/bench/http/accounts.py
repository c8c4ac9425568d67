"""Log-ins, and other requests beside them; what a session costs a request.

python -m tests.bench.http.accounts [--quick]
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final
from uuid import UUID

import aiohttp
from argon2 import PasswordHasher

from gengui_stream.accounts.passwords import PROFILE
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool, opened_pool
from tests.bench.http.generations import fill
from tests.bench.http.http_load import Answers, Load, put_under
from tests.bench.system import System, opened_system, roles_started

GENERATIONS: Final = 10_000
ASKED_IDS: Final = 1_000
CLIENTS: Final = (0, 1, 2, 4, 8, 16, 32)
"""That log in at the same time."""
PASSWORD: Final = "correct horse battery"
PAUSE_S: Final = 0.1
"""Of a client whose log-in was refused with 503."""

INSERT: Final = """
INSERT INTO accounts.users (user_id, email, user_name, role, password_hash, email_verified_at)
VALUES ($1, $2, $3, 'user', $4, CASE WHEN $5 THEN now() END)
"""
"""The last parameter: whether the address is verified."""

DEMO: Final = """
UPDATE accounts.users SET user_name = 'demo', password_hash = $1, email_verified_at = now()
WHERE email = 'demo@example.com'
"""


@dataclass(frozen=True, slots=True)
class Round:
    """GETs beside log-ins. By the second: log-ins that succeeded, and those refused with 503."""

    answers: Answers
    log_ins: float
    refused: float


@dataclass(frozen=True, slots=True)
class Measured:
    """`beside`: by the number of clients that log in. `by_key`, `by_cookie`: GETs alone."""

    beside: Mapping[int, list[Round]]
    by_key: list[Answers]
    by_cookie: list[Answers]


def run(quick: bool) -> str:
    return section(asyncio.run(measure(rounds=1 if quick else 5, seconds=2.0 if quick else 5.0)))


async def measure(*, rounds: int, seconds: float) -> Measured:
    async with opened_system() as system, opened_pool(system.settings, size=2) as pool:
        ids = await fill(pool, GENERATIONS)
        await _users(pool)
        async with roles_started(system, ["api"]):
            key, cookie = {"Authorization": f"Bearer {system.key}"}, {"Cookie": await _cookie(system)}
            found = Measured({clients: [] for clients in CLIENTS}, [], [])
            await _load(system, ids, key, 1.0)  # caches, pools and prepared statements
            for _ in range(rounds):
                await _measured(system, ids, (key, cookie), seconds, found)
            return found


async def _users(pool: Pool) -> None:
    known = PasswordHasher.from_parameters(PROFILE).hash(PASSWORD)
    names = [f"user{number}" for number in range(max(CLIENTS))]
    await pool.executemany(INSERT, [(new_id(), f"{name}@example.com", name, known, True) for name in names])
    await pool.execute(DEMO, known)


async def _measured(
    system: System,
    ids: Sequence[UUID],
    credentials: tuple[dict[str, str], dict[str, str]],
    seconds: float,
    found: Measured,
) -> None:
    key, cookie = credentials
    for clients, rounds in found.beside.items():
        rounds.append(await _beside(system, ids, key, clients, seconds))
    found.by_key.append(await _load(system, ids, key, seconds))
    found.by_cookie.append(await _load(system, ids, cookie, seconds))


async def _load(system: System, ids: Sequence[UUID], headers: dict[str, str], seconds: float) -> Answers:
    """One connection: what is measured is how long a request takes, not how many fit."""
    paths = [f"/v1/generations/{found}" for found in ids[:ASKED_IDS]]
    load = Load(port=system.settings.port, paths=paths, headers=headers, connections=1, seconds=seconds)
    return await put_under(load)


async def _beside(system: System, ids: Sequence[UUID], key: dict[str, str], clients: int, seconds: float) -> Round:
    counted, over, began = Counter[int](), asyncio.Event(), time.perf_counter()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_log_ins(session, system, f"user{number}", counted, over))
        answers = await _load(system, ids, key, seconds)
        over.set()
        passed = time.perf_counter() - began
    return Round(answers, counted[200] / passed, counted[503] / passed)


async def _log_ins(
    session: aiohttp.ClientSession, system: System, login: str, counted: Counter[int], over: asyncio.Event
) -> None:
    while not over.is_set():
        body = {"login": login, "password": PASSWORD}
        async with session.post(f"{system.url}/v1/auth/login", json=body) as answer:
            assert answer.status in {200, 503}, await answer.text()
        if not over.is_set():
            counted[answer.status] += 1
        if answer.status != 200:
            await asyncio.sleep(PAUSE_S)


async def _cookie(system: System) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{system.url}/v1/auth/login", json={"login": "demo", "password": PASSWORD}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return answer.headers["Set-Cookie"].partition(";")[0]


METHOD: Final = """\
One process of the API with `PASSWORD_HASHES_AT_ONCE=2`; argon2id, 64 MiB, three passes, a parallelism of four. N
clients log in again and again, each as a user of its own, and go on after 0.1 s when refused with 503 `busy`; meanwhile
one connection reads generations, each request after the response to the one before."""


def section(found: Measured) -> str:
    alone = _median_p99([each.answers for each in found.beside[0]])
    doubled = [clients for clients, rounds in found.beside.items() if _p99(rounds) >= 2 * alone]
    doubles = f"doubles with {doubled[0]}" if doubled else f"never doubles with up to {max(CLIENTS)}"
    costs = median(
        by_cookie.p50_ms - by_key.p50_ms for by_key, by_cookie in zip(found.by_key, found.by_cookie, strict=True)
    )
    return "\n".join(
        [
            METHOD,
            "",
            "| clients that log in | log-ins/s | refused/s | `GET`s/s | p50 ms | p99 ms | p99, times that without |",
            "|---:|---:|---:|---:|---:|---:|---:|",
            *(_row(clients, rounds, alone) for clients, rounds in found.beside.items()),
            "",
            f"The p99 of other requests {doubles} of these clients.",
            "",
            f"With the cookie of a session in place of a key the median of a `GET` is {costs:+.2f} ms.",
        ]
    )


def _row(clients: int, rounds: Sequence[Round], alone: float) -> str:
    log_ins, refused = median(each.log_ins for each in rounds), median(each.refused for each in rounds)
    per_s, p50 = median(each.answers.per_s for each in rounds), median(each.answers.p50_ms for each in rounds)
    p99 = _p99(rounds)
    return f"| {clients} | {log_ins:.1f} | {refused:.1f} | {per_s:,.0f} | {p50:.2f} | {p99:.1f} | {p99 / alone:.1f} |"


def _p99(rounds: Sequence[Round]) -> float:
    return _median_p99([each.answers for each in rounds])


def _median_p99(answers: Sequence[Answers]) -> float:
    return median(each.p99_ms for each in answers)


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
