"""One subscriber of the owner's live stream, which reconnects with the last id that it got."""

import asyncio
import json
from collections.abc import Sequence
from itertools import cycle
from typing import Final

import aiohttp

from tests.oracle.evidence import Observations

SILENCE_S: Final = 20.0
"""Longer than the pause between two comments of the stream: after that, the connection is taken for dead."""

AGAIN_S: Final = 0.5


class Subscriber:
    """Events go to `seen.streamed` once their whole block has arrived. `urls`: each connection is to the next one."""

    def __init__(self, urls: Sequence[str], key: str, seen: Observations) -> None:
        self._urls, self._seen = cycle(urls), seen
        self._headers = {"Authorization": f"Bearer {key}"}
        self._last_id = ""
        self.connections = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                try:
                    await self._connection(http)
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(AGAIN_S)

    async def _connection(self, http: aiohttp.ClientSession) -> None:
        headers = self._headers | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        async with http.get(f"{next(self._urls)}/v1/stream", headers=headers) as response:
            if response.status != 200:
                await asyncio.sleep(AGAIN_S)
                return
            self.connections += 1
            block: dict[str, str] = {}
            while line := (await response.content.readline()).decode():
                if line.strip():
                    name, _, value = line.rstrip("\n").partition(": ")
                    block[name] = value
                elif block:
                    self._take(block)
                    block = {}

    def _take(self, block: dict[str, str]) -> None:
        if not self._last_id and "id" in block:
            self._seen.stream_start = _offsets(block["id"])
        self._last_id = block.get("id", self._last_id)
        if "data" in block and block.get("event") != "end":
            event = json.loads(block["data"])
            self._seen.streamed.append({"position": event["position"], "version": event["version"]})


def _offsets(text: str) -> dict[int, int]:
    """The last offset of each partition, of an id; -1 for each at the beginning."""
    pairs = [] if text == "beginning" else [part.split(":") for part in text.split(",")]
    return {-1: -1} | {int(partition): int(offset) for partition, offset in pairs}
