"""Whether the time of a response tells if an e-mail address has an account.

python -m tests.bench.http.addresses [--quick]
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Final, TypeAlias

import aiohttp
from argon2 import PasswordHasher

from gengui_stream.accounts.passwords import PROFILE
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool, opened_pool
from tests.bench.http.accounts import INSERT, PASSWORD
from tests.bench.report.quantiles import median_interval
from tests.bench.system import System, opened_system, roles_started

REQUESTS: Final[Mapping[str, tuple[str, int]]] = {
    "log-in": ("/v1/auth/login", 401),
    "sign-up": ("/v1/auth/signup", 202),
    "password reset": ("/v1/auth/password-reset", 202),
    "verification again": ("/v1/auth/resend-verification", 202),
}
"""Path and status of what a client without a session may send, by name."""

KINDS: Final = ("known", "unknown", "control")
"""Of the addresses. The control is unknown as well: its difference to the unknown ones is the noise."""

FORGOTTEN_EVERY: Final = 25
"""Rounds: failures to log in lock a network out before they are 100."""

FORGET: Final = "DELETE FROM accounts.login_failures"

Seconds: TypeAlias = dict[str, list[float]]
"""Of each round, by the kind of its address."""


def run(quick: bool) -> str:
    return section(asyncio.run(measure(rounds=20 if quick else 300)))


async def measure(*, rounds: int) -> dict[str, Seconds]:
    async with opened_system() as system, opened_pool(system.settings, size=2) as pool:
        await _accounts(pool, rounds)
        async with roles_started(system, ["api"]), aiohttp.ClientSession() as session:
            return {request: await _measured(system, session, pool, request, rounds) for request in REQUESTS}


async def _accounts(pool: Pool, rounds: int) -> None:
    """An account for each round of each request. Only one that is not verified gets a further verification."""
    known = PasswordHasher.from_parameters(PROFILE).hash(PASSWORD)
    names = [(_name(request, "known", number), request) for request in REQUESTS for number in range(rounds)]
    rows = [(new_id(), f"{name}@example.com", name, known, request != "verification again") for name, request in names]
    await pool.executemany(INSERT, rows)


async def _measured(system: System, session: aiohttp.ClientSession, pool: Pool, request: str, rounds: int) -> Seconds:
    """The kinds take turns: each is first, second and third equally often."""
    found: Seconds = {kind: [] for kind in KINDS}
    await _seconds(system, session, request, "the_first")  # connections and prepared statements
    for number in range(rounds):
        if number % FORGOTTEN_EVERY == 0:
            await pool.execute(FORGET)
        for turn in range(len(KINDS)):
            kind = KINDS[(number + turn) % len(KINDS)]
            found[kind].append(await _seconds(system, session, request, _name(request, kind, number)))
    return found


def _name(request: str, kind: str, number: int) -> str:
    return f"{request.replace(' ', '_')}_{kind}_{number}"


async def _seconds(system: System, session: aiohttp.ClientSession, request: str, name: str) -> float:
    path, status = REQUESTS[request]
    began = time.perf_counter()
    async with session.post(system.url + path, json=_body(request, name)) as answer:
        text = await answer.text()
    seconds = time.perf_counter() - began
    assert answer.status == status, text
    return seconds


def _body(request: str, name: str) -> dict[str, str]:
    email = f"{name}@example.com"
    match request:
        case "log-in":
            return {"login": email, "password": "a wrong password"}
        case "sign-up":
            return {"email": email, "user_name": f"again_{new_id().hex[-12:]}", "password": PASSWORD}
        case _:
            return {"email": email}


METHOD: Final = """\
One process of the API; argon2id, 64 MiB, three passes, a parallelism of four. {rounds} rounds of three requests over
one connection, in turn: for an address that has an account, for one that has none, and as a control for another one
that has none. The difference of a round is to the one that has none; in brackets is the 95 % interval of the median of
all rounds. What the control shows is noise.

| request | none, p50 ms | with an account, ms more | control, ms more |
|---|---:|---:|---:|"""


def section(found: Mapping[str, Seconds]) -> str:
    rounds = len(next(iter(found.values()))["known"])
    below = [request for request, seconds in found.items() if _is_below_noise(seconds)]
    return "\n".join(
        [
            METHOD.format(rounds=rounds),
            *(_row(request, seconds) for request, seconds in found.items()),
            "",
            f"Below noise (the interval contains 0, or overlaps that of the control): {', '.join(below) or 'none'}.",
        ]
    )


def _row(request: str, seconds: Seconds) -> str:
    known, control = (_said(_more(seconds, kind)) for kind in ("known", "control"))
    return f"| {request} | {median(seconds['unknown']) * 1000:.2f} | {known} | {control} |"


def _said(more: tuple[float, float, float]) -> str:
    low, middle, high = more
    return f"{middle:+.3f} ({low:+.3f} to {high:+.3f})"


def _is_below_noise(seconds: Seconds) -> bool:
    low, _, high = _more(seconds, "known")
    control_low, _, control_high = _more(seconds, "control")
    return low <= 0 <= high or (low <= control_high and control_low <= high)


def _more(seconds: Seconds, kind: str) -> tuple[float, float, float]:
    """Milliseconds: the median of the differences to the unknown addresses, between the ends of its 95 % interval."""
    found = [(one - other) * 1000 for one, other in zip(seconds[kind], seconds["unknown"], strict=True)]
    low, high = median_interval(found)
    return low, median(found), high


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
