"""The accounts as an encrypted file: they are not in the log, so nothing else brings them back.

A file is a sequence of lines. Each is a Fernet token (AES-128-CBC with HMAC-SHA256, from the package `cryptography`) of
a JSON document with the id of the dump and the number of the line, so that no line can be left out, repeated or taken
from another dump. The last one has the number of rows of each table.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Final
from uuid import uuid4

import asyncpg
import orjson
from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, JsonValue

from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Connection, Pool, transient_errors

TABLES: Final = {
    "users": "user_id",
    "api_keys": "key_id",
    "idempotency_keys": "owner_id, key",
    "reserved_names": "name",
}
"""With their primary keys, in the order in which they refer to each other.

Left out is what ends by itself (sessions, tokens, e-mails to be sent, failed log-ins, usage), and the audit trail: a
file that a command loads is no evidence."""

PAGE: Final = 1_000
FORMAT: Final = 1

PAGES: Final = "SELECT to_jsonb(t)::text AS document FROM accounts.{table} t"
COLUMNS: Final = """
SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""
INSERT: Final = """
INSERT INTO accounts.{table} ({columns})
SELECT {columns} FROM jsonb_populate_recordset(NULL::accounts.{table}, $1::jsonb) ON CONFLICT ({primary_key}) DO NOTHING
"""


class _Format(BaseModel):
    format: int


class _Line(BaseModel):
    """`counts`: in the last line alone."""

    dump: str
    format: int
    number: int
    table: str | None = None
    rows: list[dict[str, JsonValue]] = []
    counts: dict[str, int] | None = None


async def dump_accounts(pool: Pool, key: str) -> AsyncIterator[bytes]:
    """The lines of a dump, each with its newline, of one snapshot. Raises TransientError when the server is
    unavailable."""
    cipher, name, number, counts = Fernet(key), str(uuid4()), 0, Counter[str]()

    def line(content: Mapping[str, object]) -> bytes:
        nonlocal number
        number += 1
        return cipher.encrypt(orjson.dumps({"dump": name, "format": FORMAT, "number": number, **content})) + b"\n"

    with transient_errors():
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            for table in TABLES:
                async for rows in _pages(connection, table):
                    counts[table] += len(rows)
                    yield line({"table": table, "rows": rows})
    yield line({"counts": counts})


async def _pages(connection: Connection, table: str) -> AsyncIterator[list[object]]:
    page: list[object] = []
    async for row in connection.cursor(PAGES.format(table=table), prefetch=PAGE):
        page.append(orjson.loads(row["document"]))
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


async def load_accounts(pool: Pool, key: str, lines: Iterable[bytes]) -> dict[str, int]:
    """Inserts the rows that the tables lack, all of them or none; returns their number by table. Rows that are there
    stay as they are.

    Raises PermanentError for a file that is damaged, cut off, of another key or of a newer release, and when an e-mail
    address or a name of it belongs to another user. Columns that an older file lacks have their defaults."""
    loaded: dict[str, int] = {}
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            for table, rows in _read(key, lines):
                loaded[table] = loaded.get(table, 0) + await _insert(connection, table, rows)
    return loaded


def _read(key: str, lines: Iterable[bytes]) -> Iterator[tuple[str, list[dict[str, JsonValue]]]]:
    cipher, name, counts, complete = Fernet(key), None, Counter[str](), False
    for number, line in enumerate(lines, start=1):
        content = _decrypted(cipher, line, number)
        name = name or content.dump
        if complete or content.number != number or content.dump != name:
            raise PermanentError(f"line {number} does not belong here: the file was put together from several")
        if content.counts is not None:
            complete = content.counts == counts
        elif content.table in TABLES:
            counts[content.table] += len(content.rows)
            yield content.table, content.rows
        else:
            raise PermanentError(f"line {number}: table {content.table}, of a newer release")
    if not complete:
        raise PermanentError("the file was cut off: its last line is missing")


def _decrypted(cipher: Fernet, line: bytes, number: int) -> _Line:
    try:
        document = cipher.decrypt(line.strip())
    except InvalidToken as error:
        reason = "ACCOUNTS_DUMP_KEY is not the key of this file, or the file is damaged" if number == 1 else "damaged"
        raise PermanentError(f"line {number}: {reason}") from error
    written = _Format.model_validate_json(document).format
    if written != FORMAT:
        raise PermanentError(f"line {number}: format {written}, of a newer release")
    return _Line.model_validate_json(document)


async def _insert(connection: Connection, table: str, rows: list[dict[str, JsonValue]]) -> int:
    known = {row["attname"] for row in await connection.fetch(COLUMNS, f"accounts.{table}")}
    columns = sorted(rows[0])
    if unknown := set(columns) - known:
        raise PermanentError(f"accounts.{table} has no column {', '.join(sorted(unknown))}: run `migrate` first")
    statement = INSERT.format(table=table, columns=", ".join(columns), primary_key=TABLES[table])
    try:
        status = await connection.execute(statement, orjson.dumps(rows).decode())
    except (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError) as error:
        raise PermanentError(
            "an e-mail address or a name of the file belongs to another user here: load it into empty tables"
        ) from error
    return int(status.split()[-1])
