"""Answers that are none: what happens to connections when providers, proxies and networks fail."""

import asyncio
import struct
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Final, Protocol, runtime_checkable

from aiohttp import web

from gengui_stream.fakes.behaviours import Html
from gengui_stream.lifecycle import pause

LOOK_EVERY_S: Final = 0.1

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@runtime_checkable
class _Socket(Protocol):
    """What each event loop has a type of its own for."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> object: ...


async def left(http: web.Request, over: asyncio.Event) -> None:
    """Until the client has left, or the server ends."""
    while http.transport is not None and not http.transport.is_closing():
        if await pause(over, LOOK_EVERY_S):
            return


async def half_of(http: web.Request, whole: web.Response) -> web.StreamResponse:
    """Sends half of the body that the header announces, then ends the connection."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": whole.content_type})
    response.content_length = len(body)
    with suppress(ConnectionError):  # the client may have left
        await response.prepare(http)
        await response.write(body[: len(body) // 2])
    if http.transport is not None:
        http.transport.close()  # once what was written has gone out
    return response


def reset(http: web.Request) -> web.Response:
    """Ends the connection with a reset. What is returned is never sent."""
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
