"""Asks `/readyz` of every API process all the time: one broker of three may be lost without an API that is unready."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import aiohttp

from gengui_stream.process.background import background_task

EVERY_S: Final = 0.5
TIMEOUT_S: Final = 6.0


class Unready(NamedTuple):
    """A probe that was not answered with 200. `took`: seconds until the next one."""

    began: float
    url: str
    took: float
    answer: str


class ReadinessWatch:
    """`found`: the probes of each API process that were not answered with 200."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.found: list[Unready] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for url in self._urls:
                group.create_task(self._ask(http, url))

    async def _ask(self, http: aiohttp.ClientSession, url: str) -> None:
        while True:
            began = time.monotonic()
            try:
                async with http.get(f"{url}/readyz") as response:
                    said = "" if response.status == 200 else f"{response.status} {await response.text()}"
            except (aiohttp.ClientError, TimeoutError) as error:
                said = type(error).__name__
            await asyncio.sleep(EVERY_S)
            if said:
                self.found.append(Unready(began, url, time.monotonic() - began, said))

    def unready_s(self, since: float, *, without: str | None) -> float:
        """The seconds since this moment, of all processes but `without`."""
        found = (one for one in self.found if one.began >= since and one.url != without)
        return round(sum(one.took for one in found), 1)

    def last(self) -> str:
        """What the last one said, for a report."""
        return self.found[-1].answer[:300] if self.found else ""


@asynccontextmanager
async def opened_watch(urls: Sequence[str]) -> AsyncIterator[ReadinessWatch]:
    watch = ReadinessWatch(urls)
    async with background_task(lambda _: watch.run()):
        yield watch
