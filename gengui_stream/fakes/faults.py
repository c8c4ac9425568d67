"""Connection faults: what clients see when providers, proxies and networks fail."""

import asyncio
import struct
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Final, Protocol, runtime_checkable

from aiohttp import web

from gengui_stream.fakes.behaviours import Html
from gengui_stream.process.lifecycle import pause

POLL_INTERVAL_S: Final = 0.1

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@runtime_checkable
class _Socket(Protocol):
    """The socket of a transport: each event loop has its own type."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> object: ...


async def client_disconnected(http: web.Request, stopped: asyncio.Event) -> None:
    """Returns once the client has disconnected, or the server stops."""
    while http.transport is not None and not http.transport.is_closing():
        if await pause(stopped, POLL_INTERVAL_S):
            return


async def half_of(http: web.Request, whole: web.Response) -> web.StreamResponse:
    """Sends half of the announced body, then closes the connection."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": whole.content_type})
    response.content_length = len(body)
    with suppress(ConnectionError):  # the client may have disconnected
        await response.prepare(http)
        await response.write(body[: len(body) // 2])
    if http.transport is not None:
        http.transport.close()  # after the written bytes are sent
    return response


def reset(http: web.Request) -> web.Response:
    """Resets the connection. The returned response is never sent."""
    transport = http.transport
    if transport is not None:
        found: object = transport.get_extra_info("socket")
        if isinstance(found, _Socket):
            found.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


def page(how: Html) -> web.Response:
    text = f"<!doctype html><title>{how.title}</title><h1>{how.title}</h1>"
    return web.Response(status=how.status, text=text, content_type="text/html")
