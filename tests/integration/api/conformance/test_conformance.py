"""Schemathesis with every check finds nothing: the OpenAPI document is as strict as the API, and its promises hold."""

from collections.abc import Iterator
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
from schemas.operations.operation import Scope
from schemas.operations.table import OPERATIONS
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, visiting
from tests.integration.api.client import Client, Json
from tests.integration.api.conformance.fuzzer import EXAMPLES, PHASES, REQUESTS, WITHOUT_COVERAGE, Caller, Fuzzer
from tests.integration.api.conftest import serving
from tests.integration.api.workers.job_worker import JobWorker

pytestmark = pytest.mark.stack

BRIEF_EXAMPLES: Final = EXAMPLES if REQUESTS else 2
"""There are some 50 operations, and a random body takes 20 ms of processor time."""

OF_USERS: Final = ("generations", "timeline", "providers", "service")
"""Tags. Those of others have tests of their own, with a caller that is not refused."""

LOG_OUT: Final = "valid POST /v1/auth/logout"
STORED: Final = "users/none.png"
JOBS: Final = 12


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


async def test_nothing_is_found_in_what_users_call(user: Client, fuzzer: Fuzzer) -> None:
    caller, values = Caller.of(user), await values_of(user)
    assert await fuzzer.found(caller, values, *tagged(*OF_USERS)) == ""
    assert fuzzer.not_called(*OF_USERS) == set()


async def test_nothing_is_found_in_accounts_with_a_session(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, fuzzer: Fuzzer
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
        assert await fuzzer.found(Caller(base, f"Cookie: {cookie}"), values, *operations) == ""
    assert fuzzer.not_called("accounts") == {LOG_OUT}


async def test_nothing_is_found_in_what_workers_call(user: Client, box: JobWorker, fuzzer: Fuzzer) -> None:
    values = await values_of(user)
    for _ in range(2 * JOBS):
        await user.create()
    for _ in range(JOBS):
        job = await box.claimed()
        key = await box.uploaded(job, b"a picture")
        values["jobs"].append({"id": job["id"], "lease": job["lease"], "object_key": key})
    assert await fuzzer.found(Caller.of(box.client), values, *tagged("workers")) == ""
    assert fuzzer.not_called("workers") == set()


async def test_nothing_is_found_in_what_admins_call(user: Client, pool: Pool, fuzzer: Fuzzer) -> None:
    admin = Client(user.session, user.base, await seed_user(pool, "admin@example.com", "admin"))
    assert await fuzzer.found(Caller.of(admin), {"jobs": []}, *tagged("admin")) == ""
    assert fuzzer.not_called("admin") == set()


def test_every_operation_has_such_a_caller() -> None:
    assert {*OF_USERS, "accounts", "workers", "admin"} == {operation.tag for operation in OPERATIONS}


READ: Final[dict[Scope, tuple[str, ...]]] = {
    "generations:read": ("--include-method", "GET", "--exclude-tag", "accounts", "--exclude-tag", "admin"),
    "ops": ("--include-method", "GET", "--exclude-tag", "accounts"),
}
"""Elsewhere a key of one scope is refused as other callers are: only `make fuzz` has that."""


async def found_with_scopes(
    user: Client, pool: Pool, role: Role, scopes: frozenset[Scope] | None, fuzzer: Fuzzer, *operations: str
) -> str:
    """No job is leased with this key: workers have a test of their own. So have the callers of each operation, and only
    `make fuzz` covers the operations with these keys too."""
    values = await values_of(Client(user.session, user.base, await seed_user(pool, "other@example.com", role)))
    values["jobs"] = [{"id": str(new_id()), "lease": "0" * 32, "object_key": STORED}]
    key = await create_key(pool, "other@example.com", KeyChoice(scopes=scopes))
    caller = Caller(user.base, f"Authorization: Bearer {key.text}")
    phases = PHASES if REQUESTS else WITHOUT_COVERAGE
    return await fuzzer.found(caller, values, *operations, phases=phases, examples=BRIEF_EXAMPLES)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("role", "scope"), [("user", "generations:write"), ("admin", None)])
async def test_nothing_is_found_with_keys_of_other_scopes(
    user: Client, pool: Pool, role: Role, scope: Scope | None, fuzzer: Fuzzer
) -> None:
    assert await found_with_scopes(user, pool, role, frozenset({scope}) if scope else None, fuzzer) == ""
    assert LOG_OUT not in fuzzer.not_called("accounts")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("role", "scope"), [("user", "generations:read"), ("admin", "ops")])
async def test_nothing_is_found_with_keys_that_read_alone(
    user: Client, pool: Pool, role: Role, scope: Scope, fuzzer: Fuzzer
) -> None:
    operations = () if REQUESTS else READ[scope]
    assert await found_with_scopes(user, pool, role, frozenset({scope}), fuzzer, *operations) == ""
