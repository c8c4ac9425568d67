"""Clients of one owner: they request, poll, cancel, delete and retry generations, and record what they see."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final

import aiohttp

from tests.oracle.evidence import Accepted, Observations, Row
from tests.oracle.story import ENDED

TIMEOUT_S: Final = 12.0
AGAIN_S: Final = 0.3
OPEN_MAX: Final = 40
"""No more requests while so many generations are open: a machine under faults draws slowly."""

PROVIDERS: Final = ("local",) * 7 + ("gemini", "runpod")
SIDES: Final = (256, 320, 384)
PASSING: Final = frozenset({502, 503, 504})


class RefusedError(Exception):
    """A response that no client may get: this client gives up."""


class Clients:
    """`seen` grows while `run` runs. Every choice follows from `seed`; the order of the responses does not. `urls`: of
    API processes, which get the requests in turn. `again_s`: from the end of a generation until it is polled again."""

    def __init__(
        self,
        urls: Sequence[str],
        key: str,
        seen: Observations,
        seed: int,
        *,
        every_s: float,
        again_s: tuple[float, float],
    ) -> None:
        self.seen, self.statuses = seen, Counter[str]()
        self._urls, self._headers = cycle(urls), {"Authorization": f"Bearer {key}"}
        self._chance = random.Random(f"clients of {seed}")
        self._every_s, self.again_s = every_s, again_s
        self._asking = asyncio.Event()
        self._open: set[str] = set()
        self._lives = 0

    @property
    def open(self) -> int:
        """Generations that were accepted and whose end no client has seen."""
        return len(self._open)

    @property
    def busy(self) -> bool:
        """Whether a client still waits for something: an acceptance, an end, a deletion."""
        return self._lives > 0

    def resume(self) -> None:
        self._asking.set()

    def hold(self) -> None:
        """No further requests; generations that are open are followed to their ends."""
        self._asking.clear()

    async def run(self) -> None:
        """Until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as http, asyncio.TaskGroup() as group:
            while True:
                await self._asking.wait()
                if self.open < OPEN_MAX:
                    group.create_task(self._live(_Life(self, http, self._chance.getrandbits(64))))
                await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._every_s)

    async def _live(self, life: "_Life") -> None:
        self._lives += 1
        try:
            await life.run()
        except RefusedError:
            self.ended(life.generation_id)  # it is on record, and there is nothing to wait for
        finally:
            self._lives -= 1

    def opened(self, generation_id: str) -> None:
        self._open.add(generation_id)

    def ended(self, generation_id: str) -> None:
        self._open.discard(generation_id)

    async def respond(
        self, http: aiohttp.ClientSession, method: str, path: str, expected: frozenset[int], **sent: object
    ) -> tuple[int, Row, Mapping[str, str]]:
        """One request: the status, the body and the headers. Status 0: no response, or one that says to repeat it."""
        body, headers = sent.get("json"), sent.get("headers")
        named = headers if isinstance(headers, dict) else {}
        try:
            async with http.request(method, next(self._urls) + path, json=body, headers=named) as response:
                self.statuses[f"{method} {response.status}"] += 1
                if response.status in expected:
                    document: Row = await response.json() if response.status != 204 else {}
                    return response.status, document, response.headers
                text = (await response.read()).decode(errors="replace")
                if response.status not in PASSING:
                    self.seen.refused.append(f"{method} {path}: {response.status} {text[:300]}")
                    raise RefusedError
        except (aiohttp.ClientError, TimeoutError) as error:
            self.statuses[f"{method} {type(error).__name__}"] += 1
        return 0, {}, {}


class _Life:
    """One generation as its client follows it: requested, polled to its end, perhaps canceled, deleted or retried."""

    def __init__(self, clients: Clients, http: aiohttp.ClientSession, seed: int) -> None:
        self._clients, self._http = clients, http
        self._chance = random.Random(seed)
        self.generation_id = self._position = ""

    async def run(self) -> None:
        await self._request()
        cancel_after = self._chance.randint(0, 6) if self._chance.random() < 0.12 else -1
        last = await self._follow(cancel_after)
        await self._afterwards(last)

    async def _request(self) -> None:
        side = self._chance.choice(SIDES)
        parameters = {"prompt": f"a lighthouse, {uuid.UUID(int=self._chance.getrandbits(128))}", "width": side}
        parameters |= {"height": self._chance.choice(SIDES), "seed": self._chance.randrange(2**32)}
        provider = {"provider": self._chance.choice(PROVIDERS)}
        if provider["provider"] != "local":
            parameters |= {"width": 512, "height": 512}
        await self._accepted("/v1/generations", parameters, body={**parameters, **provider})

    async def _accepted(self, path: str, parameters: Row, body: Row | None = None) -> None:
        """Repeats the request under one key until it is accepted."""
        key = str(uuid.UUID(int=self._chance.getrandbits(128)))
        expected = frozenset({202})
        while True:
            status, document, headers = await self._clients.respond(
                self._http, "POST", path, expected, json=body, headers={"Idempotency-Key": key}
            )
            if status == 202:
                break
            await asyncio.sleep(AGAIN_S)
        self.generation_id, self._position = str(document["id"]), headers["Gengui-Position"]
        self._clients.seen.accepted[key] = Accepted(self.generation_id, self._position, parameters)
        self._clients.opened(self.generation_id)

    async def _follow(self, cancel_after: int) -> Row:
        polls = 0
        while True:
            document = await self._poll()
            if document is not None and document["status"] in ENDED:
                self._clients.ended(self.generation_id)
                return document
            if polls == cancel_after:
                await self._cancel()
            polls += 1
            await asyncio.sleep(self._chance.uniform(0.2, 1.2))

    async def _poll(self) -> Row | None:
        status, document, _ = await self._clients.respond(
            self._http, "GET", f"/v1/generations/{self.generation_id}", frozenset({200}), headers=self._at_least()
        )
        if status != 200:
            return None
        kept = {name: document[name] for name in ("status", "version", "attempt")}
        self._clients.seen.polls.setdefault(self.generation_id, []).append(kept)
        return document

    def _at_least(self) -> dict[str, str]:
        return {"Min-Position": self._position}

    async def _cancel(self) -> None:
        document = await self._repeated("POST", f"/v1/generations/{self.generation_id}/cancel")
        kept = {name: document[name] for name in ("status", "canceled", "cancel_requested")}
        self._clients.seen.cancels.setdefault(self.generation_id, []).append(kept)

    async def _repeated(self, method: str, path: str) -> Row:
        while True:
            status, document, _ = await self._clients.respond(
                self._http, method, path, frozenset({200, 202}), headers=self._at_least()
            )
            if status:
                return document
            await asyncio.sleep(AGAIN_S)

    async def _afterwards(self, last: Row) -> None:
        """Polls again after a while: what has ended stays as it is. A few are deleted, a few requested again."""
        await asyncio.sleep(self._chance.uniform(*self._clients.again_s))
        last = await self._poll() or last
        drawn = self._chance.random()
        if drawn < 0.05:
            await self._delete(last)
        elif drawn < 0.08:
            names = ("prompt", "seed", "width", "height")
            await self._accepted(f"/v1/generations/{self.generation_id}/retry", {name: last[name] for name in names})
            await self._follow(-1)

    async def _delete(self, last: Row) -> None:
        """Until it is carried out. A repeated deletion, whose first response was lost, finds nothing any more."""
        path, seen = f"/v1/generations/{self.generation_id}", self._clients.seen
        tries = 0
        while True:
            expected = frozenset({202, 204, 404} if tries else {202, 204})
            status, _, _ = await self._clients.respond(self._http, "DELETE", path, expected, headers=self._at_least())
            if status in {204, 404}:
                seen.deleted[self.generation_id] = last
                return
            tries += 1
            await asyncio.sleep(AGAIN_S)
