"""Clients with a cookie jar in place of a key, and accounts for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
from argon2 import Parameters

from gengui_stream.accounts import one_time_tokens
from gengui_stream.accounts.one_time_tokens import Purpose
from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.passwords import CHEAP, PASSWORD, hashed
from tests.integration.api.client import Client, Json

INSERT = """
INSERT INTO accounts.users (user_id, email, user_name, role, password_hash, email_verified_at)
VALUES ($1, $2, $3, 'user', $4, CASE WHEN $5 THEN now() END)
"""


@asynccontextmanager
async def visiting(base: str, address: str = "127.0.0.1") -> AsyncIterator[Client]:
    """A client without an account, at this loopback address; it keeps cookies."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Client(session, base, "")


async def an_account(pool: Pool, user_name: str, *, verified: bool = True, profile: Parameters = CHEAP) -> UUID:
    """With the address `user_name@example.com`, and PASSWORD."""
    user_id = new_id()
    await pool.execute(INSERT, user_id, f"{user_name}@example.com", user_name, hashed(profile=profile), verified)
    return user_id


async def log_in(visitor: Client, login: str, password: str = PASSWORD) -> Json:
    status, _, found = await visitor.call("POST", "/v1/auth/login", json={"login": login, "password": password})
    assert status == 200, found
    return found


async def token_for(pool: Pool, user_id: UUID, purpose: Purpose, email: str) -> str:
    """As the sender of e-mails makes it."""
    async with pool.acquire() as connection:
        return await one_time_tokens.issue(connection, user_id, purpose, email)


async def mailed(pool: Pool) -> list[tuple[str, UUID | None, str]]:
    """Kind, user and recipient of each e-mail to be sent, in the order of their creation."""
    rows = await pool.fetch("SELECT kind, user_id, recipient FROM accounts.emails ORDER BY created_at, email_id")
    return [(row["kind"], row["user_id"], row["recipient"]) for row in rows]


async def audited(pool: Pool) -> list[str]:
    return [row["type"] for row in await pool.fetch("SELECT type FROM accounts.audit_events ORDER BY event_id")]
