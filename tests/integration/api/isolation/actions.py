"""What parties do, at random: with their own generations, and with those of others."""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from tests.integration.api.isolation.parties import Party, Watch

ALL: Final = "/v1/generations"
CLAIM: Final = "/v1/worker/jobs/claim"
NO_LEASE: Final = "0" * 32
LOOK_S: Final = 0.15


class Actions:
    """Every choice comes from `chance`, so that a seed repeats them. `cursors` and `positions`: of all users."""

    def __init__(self, watch: Watch, chance: random.Random) -> None:
        self.watch, self.chance = watch, chance
        self.cursors: list[str] = []
        self.positions: list[str] = []
        self.sessions: list[str] = []
        self._number = 0

    async def one(self) -> None:
        party = self.chance.choice(self.watch.parties)
        await self.chance.choice(self._of(party))(party)

    def _of(self, party: Party) -> Sequence[Callable[[Party], Awaitable[None]]]:
        with_ids = (self.read, self.change, self.look)
        if party.kind == "worker":
            return (self.claim, self.claim, self.work, self.work, self.report_any, *with_ids)
        if party.kind == "admin":
            return (self.create, self.page, self.past, *with_ids)
        if party.kind == "stranger":
            return (self.page, self.account, *with_ids)
        return (self.create, self.create, self.create, self.page, self.search, self.account, self.token, *with_ids)

    def _any_id(self) -> str:
        known = [made for party in self.watch.parties for made in party.generations]
        return self.chance.choice(known or ["0195b7a0-0000-7000-8000-000000000000"])

    async def create(self, party: Party) -> None:
        self._number += 1
        body = {"prompt": f"a fox {party.marker} {self._number}"}
        key = {"Idempotency_Key": f"shared-{self.chance.randrange(40)}"} if self.chance.random() < 0.5 else {}
        reply = await self.watch.call(party, "POST", ALL, body, **key)
        if reply.status == 202 and reply.found["id"] not in party.generations:
            party.generations.append(str(reply.found["id"]))

    async def read(self, party: Party) -> None:
        tail = self.chance.choice(["", "/events", "/events?limit=1"])
        path = f"{ALL}/{self._any_id()}{tail}"
        reply = await self.watch.call(party, "GET", path)
        self.positions += [event["position"] for event in reply.found.get("data", ())]

    async def change(self, party: Party) -> None:
        method, tail = self.chance.choice([("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")])
        generation_id = self._any_id()
        reply = await self.watch.call(party, method, f"{ALL}/{generation_id}{tail}")
        if reply.status == 202 and tail == "/retry":
            party.generations.append(str(reply.found["id"]))
        assert reply.status in {401, 403, 404, 504} or generation_id in party.generations, reply.text

    async def page(self, party: Party) -> None:
        cursor = (
            f"&cursor={quote(self.chance.choice(self.cursors))}" if self.cursors and self.chance.random() < 0.5 else ""
        )
        reply = await self.watch.call(party, "GET", f"{ALL}?limit={self.chance.randint(1, 5)}{cursor}")
        if found := reply.found.get("next_cursor"):
            self.cursors.append(str(found))

    async def search(self, party: Party) -> None:
        """For the marker of any party."""
        await self.watch.call(party, "GET", f"{ALL}?q={self.chance.choice(self.watch.parties).marker}")

    async def account(self, party: Party) -> None:
        path = self.chance.choice(["/v1/account", "/v1/account/sessions", "/v1/account/usage"])
        reply = await self.watch.call(party, "GET", path)
        self.sessions += [str(one["id"]) for one in reply.found.get("data", ()) if not one.get("current")]

    async def token(self, party: Party) -> None:
        reply = await self.watch.call(party, "POST", "/v1/stream-tokens")
        if reply.status == 201:
            await self.watch.follow(party, f"/v1/stream?token={reply.found['token']}", within_s=LOOK_S)

    async def look(self, party: Party) -> None:
        """Streams, after the position of any event."""
        path = self.chance.choice(["/v1/stream", f"{ALL}/{self._any_id()}/stream"])
        after = {"Last_Event_ID": self.chance.choice(self.positions)} if self.positions else {}
        await self.watch.follow(party, path, within_s=LOOK_S, **after)

    async def past(self, party: Party) -> None:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        await self.watch.call(party, "GET", f"{ALL}/{self._any_id()}?at={now}")

    async def claim(self, party: Party) -> None:
        """Under its marker: only operators see the names of workers."""
        await self.watch.call(party, "POST", CLAIM, {"lease_s": 60, "wait_s": 1, "worker": party.marker})

    async def work(self, party: Party) -> None:
        """On a job of its own, or of another worker with its lease, which another key must not use, or on any."""
        known = [item for one in self.watch.parties for item in one.leases.items()]
        own = list(party.leases.items()) if self.chance.random() < 0.7 else known
        job, lease = self.chance.choice(own or [(self._any_id(), NO_LEASE)])
        if self.chance.random() < 0.3:
            job = self._any_id()
        steps: list[tuple[str, dict[str, object]]] = [
            ("heartbeat", {}),
            ("upload", {"mime_type": "image/png", "bytes": 10}),
            ("report", {"event": {"type": "generation.started"}}),
            ("report", {"event": {"type": "generation.progressed", "percent": 50}}),
            ("report", {"event": {"type": "generation.failed", "error": {"code": "x", "message": "y"}}}),
            ("release", {}),
        ]
        step, body = self.chance.choice(steps)
        await self.watch.call(party, "POST", f"/v1/worker/jobs/{job}/{step}", {"lease": lease, **body})

    async def report_any(self, party: Party) -> None:
        event = {"type": "generation.progressed", "generation_id": self._any_id(), "attempt": 1, "percent": 1}
        await self.watch.call(party, "POST", "/v1/worker/events", {"events": [event]})
