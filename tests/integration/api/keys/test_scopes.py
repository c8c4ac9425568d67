"""Each operation accepts the keys that its scope names and refuses all others, before it does anything."""

import re

import aiohttp
import pytest

from gengui_stream.accounts.keys.api_keys import KeyChoice, seed_user
from gengui_stream.accounts.principals import SCOPES, SCOPES_OF, Role
from gengui_stream.postgres.pool import Pool
from schemas.operations.operation import Operation, Scope
from schemas.operations.table import OPERATIONS
from tests.integration.api.client import Client

UNKNOWN = "0195b7a0-0000-7000-8000-000000000000"
PREFIX = "/v1/"


def role_of(scope: Scope) -> Role:
    return next(role for role in ("user", "worker", "admin") if scope in SCOPES_OF[role])


def path_of(operation: Operation, generation_id: str = UNKNOWN) -> str:
    return re.sub(r"\{\w+\}", generation_id, operation.path)


async def status_of(client: Client, operation: Operation, generation_id: str = UNKNOWN) -> tuple[int, str]:
    """The status, without the body of an answer that may be a stream, and the code of a refusal."""
    sent = {"Authorization": f"Bearer {client.key}"} if client.key else {}
    url = client.base + path_of(operation, generation_id)
    body = {"unknown": "field"} if operation.body else None
    async with client.session.request(operation.method, url, json=body, headers=sent) as answer:
        problem = answer.content_type == "application/problem+json"
        return answer.status, (await answer.json(content_type=None))["code"] if problem else ""


def keyed() -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.auth in {"key", "token"}]


async def key_with(pool: Pool, scope: Scope) -> str:
    role = role_of(scope)
    return await seed_user(pool, f"{scope.replace(':', '-')}@example.com", role, KeyChoice(scope, frozenset({scope})))


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_of_one_scope_may_do_what_the_table_says(
    base: str, session: aiohttp.ClientSession, pool: Pool, scope: Scope
) -> None:
    client = Client(session, base, await key_with(pool, scope))
    allowed = refused = 0
    for operation in keyed():
        status, code = await status_of(client, operation)
        if operation.scope in {scope, None}:
            assert status not in {401, 403}, operation.name
            allowed += 1
        else:
            assert (status, code) == (403, "forbidden"), operation.name
            refused += 1
    assert allowed
    assert refused


async def test_without_a_key_and_with_no_scope_every_operation_refuses(
    base: str, session: aiohttp.ClientSession, pool: Pool
) -> None:
    none = await seed_user(pool, "none@example.com", "user", KeyChoice(scopes=frozenset()))
    for operation in keyed():
        assert await status_of(Client(session, base, ""), operation) == (401, "unauthorized"), operation.name
        assert await status_of(Client(session, base, "gg_live_x"), operation) == (401, "unauthorized"), operation.name
        if operation.scope is not None:
            assert await status_of(Client(session, base, none), operation) == (403, "forbidden"), operation.name


async def test_no_key_is_enough_where_a_session_is_needed(
    base: str, session: aiohttp.ClientSession, pool: Pool
) -> None:
    client = Client(session, base, await seed_user(pool, "admin@example.com", "admin"))
    for operation in OPERATIONS:
        if operation.auth == "session":
            assert await status_of(client, operation) == (403, "session_required"), operation.name


async def test_a_workers_key_reads_nothing_of_a_generation(user: Client, worker: Client) -> None:
    """The one that exists, and not only one that does not."""
    generation_id = await user.created(prompt="a secret lighthouse")
    for operation in keyed():
        if operation.path.startswith("/v1/generations") or operation.path == "/v1/stream":
            assert await status_of(worker, operation, generation_id) == (403, "forbidden"), operation.name


def test_every_operation_says_what_it_needs() -> None:
    for operation in OPERATIONS:
        assert operation.scope is None or operation.auth in {"key", "token"}, operation.name
        if operation.path.startswith(f"{PREFIX}admin/"):
            assert operation.scope == "ops", operation.name
        if operation.path.startswith(f"{PREFIX}worker/"):
            assert operation.scope == "worker", operation.name
        if operation.path.startswith((f"{PREFIX}generations", f"{PREFIX}stream")):
            assert operation.scope in {"generations:read", "generations:write"}, operation.name
