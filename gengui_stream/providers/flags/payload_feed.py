"""Payloads of feature flags as they change: polled, and streamed where the server supports it.

GrowthBook's own client (4.0.0) does not fetch here: it never retries after a failed first fetch, ends a stream for good
at a 5xx or a lost connection, reconnects without a pause when the server closes a stream, fails on a line of more than
128 KiB, answers `features-updated` from its own cache, has no timeout for a fetch, and streams in a thread of its own.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, NoReturn

import aiohttp
import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.providers.flags.event_stream import EventStreamParser, StreamedEvent
from gengui_stream.providers.flags.payload_cache import PAYLOAD_MAX_BYTES

FETCH_S: Final = 10.0
CONNECT_S: Final = 5.0
STREAM_SILENCE_S: Final = 90.0
"""A stream without any data for this long, not even a ping, is reopened."""

PAUSE_S: Final = 1.0
"""Before a stream is reopened; doubles with each failure."""

Adopt = Callable[[bytes], Awaitable[None]]
"""Uses a payload from now on. Raises PermanentError when it is invalid."""

_log = structlog.get_logger(__name__)


class PayloadFeed:
    """Calls `adopt` with one payload at a time, in the server's order."""

    def __init__(self, http: aiohttp.ClientSession, host: str, client_key: str, adopt: Adopt) -> None:
        self._http, self._adopt = http, adopt
        self._host = host.rstrip("/")
        self._client_key = client_key
        self._fetching = asyncio.Lock()
        self._etag: str | None = None
        self._streamed = asyncio.Event()
        self._fault: str | None = None

    async def refresh(self, within_s: float = FETCH_S) -> bool:
        """Whether the flags are now those of the server. If not, the reason is logged, once for each."""
        try:
            async with asyncio.timeout(within_s), self._fetching:
                await self._fetch()
        except TimeoutError:
            return self._failed(f"no answer within {within_s:g} s")
        except (TransientError, PermanentError) as error:
            return self._failed(str(error))
        if self._fault is not None:
            _log.info("flags_refreshed_again", host=self._host)
        self._fault = None
        return True

    async def poll(self, every_s: float, *, failures: int = 0) -> NoReturn:
        """`failures`: how many refreshes have failed in a row before."""
        while True:
            await asyncio.sleep(self._pause_s(failures, every_s) if failures else every_s)
            failures = 0 if await self.refresh() else failures + 1

    async def stream(self, longest_pause_s: float) -> NoReturn:
        """Follows the server's stream while the server offers one, and reopens it each time it has ended."""
        failures = 0
        while True:
            await self._streamed.wait()
            failures = 1 if await self._follow() else failures + 1
            await asyncio.sleep(self._pause_s(failures, longest_pause_s))

    def _pause_s(self, failures: int, longest_s: float) -> float:
        salt = zlib.crc32(f"{id(self)} {failures}".encode())
        return backoff_seconds(failures, salt=salt, base=min(PAUSE_S, longest_s), ceiling=longest_s)

    def _failed(self, fault: str) -> bool:
        if fault != self._fault:
            _log.warning("flags_not_refreshed", host=self._host, reason=fault)
        self._fault = fault
        return False

    async def _fetch(self) -> None:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        url = f"{self._host}/api/features/{self._client_key}"
        try:
            async with self._http.get(url, headers=headers, allow_redirects=False) as response:
                if response.status == 304:
                    return
                payload = await _body(response)
        except (aiohttp.ClientError, OSError) as error:  # its text may contain the URL, and so the key
            raise TransientError(f"not reached: {type(error).__name__}") from None
        self._etag = None
        await self._adopt(payload)
        self._etag = response.headers.get("ETag")
        self._offer(streamed=response.headers.get("X-SSE-Support") == "enabled")

    def _offer(self, *, streamed: bool) -> None:
        if streamed:
            self._streamed.set()
        else:
            self._streamed.clear()

    async def _follow(self) -> bool:
        """Follows one stream to its end. Whether any event arrived."""
        received = False
        try:
            async with aclosing(self._events()) as events:
                async for event in events:
                    received = True
                    await self._take(event)
        except (aiohttp.ClientError, OSError, TransientError, PermanentError) as error:
            _log.debug("flags_stream_ended", host=self._host, reason=type(error).__name__)
        return received

    async def _events(self) -> AsyncGenerator[StreamedEvent, None]:
        parser = EventStreamParser(PAYLOAD_MAX_BYTES)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STREAM_SILENCE_S)
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        url = f"{self._host}/sub/{self._client_key}"
        async with self._http.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                raise TransientError(f"the server answered {response.status}")
            await self.refresh()  # changes from before the stream was open
            async for chunk in response.content.iter_any():
                for event in parser.feed(chunk):
                    yield event

    async def _take(self, event: StreamedEvent) -> None:
        if event.type == "features-updated":
            await self.refresh()
        elif event.type == "features":
            await self._take_payload(event.data.encode())

    async def _take_payload(self, payload: bytes) -> None:
        async with self._fetching:
            self._etag = None
            try:
                await self._adopt(payload)
            except PermanentError as error:
                self._failed(str(error))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise TransientError(f"the server answered {response.status}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > PAYLOAD_MAX_BYTES:
            raise PermanentError(f"the payload has more than {PAYLOAD_MAX_BYTES} bytes")
    return bytes(body)
