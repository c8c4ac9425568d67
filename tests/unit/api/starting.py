"""An API whose servers are unavailable: it listens, and answers everything that needs none of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.server import served_api
from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S, role_context


@dataclass(frozen=True)
class Answer:
    """The first response on a connection. Names of headers are in lower case."""

    version: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def starting(**changes: object) -> AsyncIterator[int]:
    """The port."""
    plain = {"kafka_bootstrap_servers": "127.0.0.1:1", "db_port": 1, "port": 0}
    async with served_api(role_context(Settings.model_validate(plain | changes))) as port:
        yield port


async def exchange(port: int, sent: bytes) -> Answer:
    """Sends these bytes, and reads one response."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(sent)
            return await answer_of(reader, has_body=not sent.startswith(b"HEAD "))
        finally:
            writer.close()


async def answer_of(reader: asyncio.StreamReader, *, has_body: bool = True) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    version, status = first.split(" ")[:2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
    length = re.search(r"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length and has_body else b""
    return Answer(version, int(status), headers, body)


async def get(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """`If_None_Match` is `If-None-Match`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return await exchange(port, "\r\n".join([*lines, "", ""]).encode())
