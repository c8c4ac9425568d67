"""Databases of the tests: created for one test, or lent to one test after another."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

SCHEMA: Final = """
    SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT concat_ws(' ', oid, relname, relnamespace, relkind, relowner, reloptions, relacl) FROM pg_class
        WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
        UNION ALL SELECT a::text FROM pg_attribute AS a WHERE attrelid >= 16384
        UNION ALL SELECT c::text FROM pg_constraint AS c WHERE oid >= 16384
        UNION ALL SELECT i::text FROM pg_index AS i WHERE indexrelid >= 16384
        UNION ALL SELECT d::text FROM pg_attrdef AS d
        UNION ALL SELECT t::text FROM pg_trigger AS t
        UNION ALL SELECT p::text FROM pg_proc AS p WHERE oid >= 16384
        UNION ALL SELECT n::text FROM pg_namespace AS n WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT m::text FROM migrations.applied AS m
    ) AS lines (line)
"""
"""A digest of everything but rows and statistics. A copy of a database has that of its template."""

WRITTEN: Final = """
    SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
    WHERE relkind = 'r' AND oid >= 16384 AND relnamespace <> 'migrations'::regnamespace AND pg_relation_size(oid) > 0
"""
"""The tables that a row was written to, whether it is still there or not."""

OTHERS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def new_database(stack: Mapping[str, str], template: str = "gengui") -> AsyncIterator[str]:
    """The URL of a database of a name of its own, dropped at the end."""
    url = await _created(stack["DATABASE_URL"], template)
    yield url
    await _drop(url)


async def _created(server: str, template: str) -> str:
    base, name = server.rpartition("/")[0], f"t{uuid.uuid4().hex[:16]}"
    await execute(f"{base}/postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"{base}/{name}"


async def _drop(url: str) -> None:
    base, _, name = url.rpartition("/")
    await execute(f"{base}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


class LentDatabases:
    """Migrated databases without rows. To check and empty a database costs the server far less than to create and drop
    one, so it is lent again, unless a test changed more than rows in it or is still connected to it."""

    def __init__(self, stack: Mapping[str, str], *, left_within_s: float = 2.0) -> None:
        """`left_within_s`: for the server to notice that a client has closed its connection."""
        self._left_within_s = left_within_s
        self._server = stack["DATABASE_URL"]
        self._free: list[str] = []
        self._schema: str | None = None

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[str]:
        url = self._free.pop() if self._free else await self._made()
        yield url
        if await self._is_as_it_was(url):
            self._free.append(url)
        else:
            await _drop(url)

    async def _made(self) -> str:
        url = await _created(self._server, "gengui")
        if self._schema is None:
            async with connected(url) as connection:
                self._schema = await connection.fetchval(SCHEMA)
        return url

    async def _is_as_it_was(self, url: str) -> bool:
        async with connected(url) as connection:
            if await connection.fetchval(SCHEMA) != self._schema or not await _is_left(connection, self._left_within_s):
                return False
            await empty(connection)
        return True


async def _is_left(connection: "asyncpg.Connection[asyncpg.Record]", within_s: float) -> bool:
    """Whether nothing else is connected."""
    deadline = time.monotonic() + within_s
    while await connection.fetchval(OTHERS):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def empty(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leaves no row in any table, and no page of one."""
    if tables := await connection.fetchval(WRITTEN):
        await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
