"""A server that only does the handshake, with a certificate of an authority of its own."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import trustme


def server_context(authority: trustme.CA, *names: str, ends_at: datetime | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names, not_after=ends_at).configure_cert(context)
    return context


def ca_file(folder: Path, authority: trustme.CA, name: str = "ca.pem") -> Path:
    path = folder / name
    authority.cert_pem.write_to_path(str(path))
    return path


@contextmanager
def alerting_server(context: ssl.SSLContext) -> Iterator[int]:
    """The port. It takes one connection, and sends the alert of a failed handshake, which asyncio's servers do not."""

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True) as connection:
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
