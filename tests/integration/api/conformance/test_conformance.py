"""Schemathesis with every check finds nothing: the OpenAPI document is as strict as the API, and its promises hold."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from gengui_stream.accounts.keys.api_keys import KeyChoice, create_key, seed_user
from gengui_stream.accounts.principals import Role
from gengui_stream.identifiers import new_id
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.operations.operation import Operation, Scope
from schemas.operations.table import OPERATIONS
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, visiting
from tests.integration.api.client import Client, Json
from tests.integration.api.conftest import serving
from tests.integration.api.workers.job_worker import JobWorker

pytestmark = pytest.mark.stack

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[3]
TABLES: Final = ROOT / ".hypothesis"
"""Of characters: to make them takes seconds of processor time."""

SEED: Final = 20_261_129
REQUESTS: Final = int(os.environ.get("CONFORMANCE_REQUESTS", "0"))
"""Of each caller, at least: `make fuzz` has many."""

EXAMPLES: Final = min(50, max(4, REQUESTS // 50))
"""Of each operation and phase. After fifty, Hypothesis climbs towards what is accepted: nearly half of the processor
time, for few requests."""

BRIEF_EXAMPLES: Final = EXAMPLES if REQUESTS else 2
"""There are some 50 operations, and a random body takes 20 ms of processor time."""

NUMBERS_OF_A_RUN: Final = 1_000_000

PHASES: Final = "examples,coverage,fuzzing,stateful"
WITHOUT_COVERAGE: Final = "examples,fuzzing,stateful"
"""Coverage is nearly the same for each seed, and has up to 3,000 requests."""

OF_USERS: Final = ("generations", "timeline", "providers", "service")
"""Tags. Those of others have tests of their own, with a caller that is not refused."""

CALLED: Final = "called"
LOG_OUT: Final = "valid POST /v1/auth/logout"
STORED: Final = "users/none.png"
JOBS: Final = 12


@dataclass
class Caller:
    """`header`: with its key or its session."""

    base: str
    header: str

    @classmethod
    def of(cls, client: Client) -> "Caller":
        return cls(client.base, f"Authorization: Bearer {client.key}")


async def found_by_schemathesis(
    caller: Caller, values: Json, directory: Path, *operations: str, phases: str = PHASES, examples: int = EXAMPLES
) -> str:
    """Its report; empty if it found nothing. With CONFORMANCE_REQUESTS: of the last run, after so many requests. No run
    is ended by its duration: a busy machine makes the same requests."""
    report, seed, requests = "", SEED, 0
    while not report and (requests == 0 or requests < REQUESTS):
        bounds = ("--phases", phases, "--max-examples", str(examples), "--seed", str(seed))
        numbered = {**values, "first_number": (seed - SEED) * NUMBERS_OF_A_RUN}
        code, printed = await _run(caller, numbered, directory, *bounds, *operations)
        generated = re.search(r"(\d+) generated", printed)
        assert generated is not None, printed
        report = "" if code == 0 else printed
        seed, requests, phases = seed + 1, requests + int(generated[1]), WITHOUT_COVERAGE
    print(f"{requests} requests with {seed - SEED} seeds from {SEED}")
    return report


async def _run(caller: Caller, values: Json, directory: Path, *options: str) -> tuple[int | None, str]:
    path = directory / "values.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    named = {"CONFORMANCE_VALUES": str(path), "CONFORMANCE_CALLED": str(directory / CALLED)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
        *("run", f"{caller.base}/openapi.json", "--header", caller.header),
        *("--checks", "all", *options),
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(TABLES),
            "NO_COLOR": "1",
            **named,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        print(printed.decode())
    return process.returncode, printed.decode()


def not_called(directory: Path, *tags: str) -> Set[str]:
    """The operations with these tags that were not called with valid input, or with invalid input if there is any."""
    called = set((directory / CALLED).read_text(encoding="utf-8").splitlines())
    operations = [operation for operation in OPERATIONS if operation.tag in tags]
    expected = {f"valid {each.method.upper()} {each.path}" for each in operations}
    expected |= {f"invalid {each.method.upper()} {each.path}" for each in operations if takes_input(each)}
    return expected - called


def takes_input(operation: Operation) -> bool:
    return bool(operation.body or operation.parameters or operation.headers or "{" in operation.path)


def tagged(*tags: str) -> Iterator[str]:
    for tag in tags:
        yield from ("--include-tag", tag)


@pytest_asyncio.fixture
async def stored(settings: Settings) -> None:
    """An object of no generation: reports of it are accepted."""
    async with open_object_store(settings) as store:
        await store.put(STORED, b"a picture", "image/png")


async def values_of(user: Client) -> Json:
    generation_id, position = await user.create()
    await user.get(f"/v1/generations/{generation_id}", Min_Position=position)
    _, _, made = await user.call("POST", "/v1/stream-tokens")
    event_ids = dict.fromkeys(("Last-Event-ID", "last_event_id"), "beginning")
    return {"Min-Position": position, **event_ids, "token": made["token"], "jobs": []}


async def test_nothing_is_found_in_what_users_call(user: Client, tmp_path: Path) -> None:
    caller, values = Caller.of(user), await values_of(user)
    assert await found_by_schemathesis(caller, values, tmp_path, *tagged(*OF_USERS)) == ""
    assert not_called(tmp_path, *OF_USERS) == set()


async def test_nothing_is_found_in_accounts_with_a_session(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, tmp_path: Path
) -> None:
    """With the cookie that the document names, which is that of production."""
    await an_account(pool, "ada")
    values: Json = {"jobs": []}
    operations = (*tagged("accounts"), "--exclude-operation-id", "log_out")
    production = settings.model_copy(update={"environment": "production"})
    async with serving(production, session) as base, visiting(base) as ada:
        body = {"login": "ada", "password": PASSWORD}
        _, headers, _ = await ada.call("POST", "/v1/auth/login", json=body)
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert await found_by_schemathesis(Caller(base, f"Cookie: {cookie}"), values, tmp_path, *operations) == ""
    assert not_called(tmp_path, "accounts") == {LOG_OUT}


async def test_nothing_is_found_in_what_workers_call(user: Client, box: JobWorker, tmp_path: Path) -> None:
    values = await values_of(user)
    for _ in range(2 * JOBS):
        await user.create()
    for _ in range(JOBS):
        job = await box.claimed()
        key = await box.uploaded(job, b"a picture")
        values["jobs"].append({"id": job["id"], "lease": job["lease"], "object_key": key})
    assert await found_by_schemathesis(Caller.of(box.client), values, tmp_path, *tagged("workers")) == ""
    assert not_called(tmp_path, "workers") == set()


async def test_nothing_is_found_in_what_admins_call(user: Client, pool: Pool, tmp_path: Path) -> None:
    admin = Client(user.session, user.base, await seed_user(pool, "admin@example.com", "admin"))
    assert await found_by_schemathesis(Caller.of(admin), {"jobs": []}, tmp_path, *tagged("admin")) == ""
    assert not_called(tmp_path, "admin") == set()


def test_every_operation_has_such_a_caller() -> None:
    assert {*OF_USERS, "accounts", "workers", "admin"} == {operation.tag for operation in OPERATIONS}


READ: Final[dict[Scope, tuple[str, ...]]] = {
    "generations:read": ("--include-method", "GET", "--exclude-tag", "accounts", "--exclude-tag", "admin"),
    "ops": ("--include-method", "GET", "--exclude-tag", "accounts"),
}
"""Elsewhere a key of one scope is refused as other callers are: only `make fuzz` has that."""


async def found_with_scopes(
    user: Client, pool: Pool, role: Role, scopes: frozenset[Scope] | None, directory: Path, *operations: str
) -> str:
    """No job is leased with this key: workers have a test of their own. So have the callers of each operation, and only
    `make fuzz` covers the operations with these keys too."""
    values = await values_of(Client(user.session, user.base, await seed_user(pool, "other@example.com", role)))
    values["jobs"] = [{"id": str(new_id()), "lease": "0" * 32, "object_key": STORED}]
    key = await create_key(pool, "other@example.com", KeyChoice(scopes=scopes))
    caller = Caller(user.base, f"Authorization: Bearer {key.text}")
    phases = PHASES if REQUESTS else WITHOUT_COVERAGE
    return await found_by_schemathesis(caller, values, directory, *operations, phases=phases, examples=BRIEF_EXAMPLES)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("role", "scope"), [("user", "generations:write"), ("admin", None)])
async def test_nothing_is_found_with_keys_of_other_scopes(
    user: Client, pool: Pool, role: Role, scope: Scope | None, tmp_path: Path
) -> None:
    assert await found_with_scopes(user, pool, role, frozenset({scope}) if scope else None, tmp_path) == ""
    assert LOG_OUT not in not_called(tmp_path, "accounts")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("role", "scope"), [("user", "generations:read"), ("admin", "ops")])
async def test_nothing_is_found_with_keys_that_read_alone(
    user: Client, pool: Pool, role: Role, scope: Scope, tmp_path: Path
) -> None:
    operations = () if REQUESTS else READ[scope]
    assert await found_with_scopes(user, pool, role, frozenset({scope}), tmp_path, *operations) == ""
