"""A TCP proxy that can fall silent: connections stay open, and new ones are accepted, but nothing passes. To a client
it is a server whose process is stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SilentProxy:
    """Passes bytes on while `speaks` is set."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.speaks.wait()
        with suppress(OSError):
            behind, ahead = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pass(reader, ahead), self._pass(behind, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                await self.speaks.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def silent_proxy(host: str, port: int) -> AsyncIterator[SilentProxy]:
    """Before that server, on a free port."""
    proxy = SilentProxy(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.speaks.set()
        server.close()
