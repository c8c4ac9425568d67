"""Parties whose every text has a marker of its own, and the search for it in what others receive."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

import aiohttp

from tests.integration.api.client import check_documented, json_of

Kind = Literal["user", "admin", "worker", "stranger"]

ADMINS_MAY_READ: Final = ("/v1/admin/", "?at=")
"""In a path: what the scope `ops` shows of other users, as documented."""


@dataclass
class Party:
    """`marker`: in its prompts, its e-mail address and its names. `leases`: of a worker, by the id of the job."""

    kind: Kind
    marker: str
    session: aiohttp.ClientSession
    base: str
    headers: Mapping[str, str] = field(default_factory=dict)
    user_id: UUID | None = None
    generations: list[str] = field(default_factory=list)
    leases: dict[str, str] = field(default_factory=dict)
    received: int = 0

    @property
    def own(self) -> list[str]:
        """What only this party may receive."""
        return [self.marker, *self.generations, *([str(self.user_id)] if self.user_id else [])]


@dataclass(frozen=True)
class Reply:
    status: int
    text: str
    found: dict[str, Any]


class LeakError(AssertionError):
    """A party received what belongs to another one."""


@dataclass
class Watch:
    """Makes the requests of all parties, and searches what comes back."""

    parties: list[Party]
    log: list[str] = field(default_factory=list)

    async def call(self, party: Party, method: str, path: str, body: object = None, **headers: str) -> Reply:
        sent = {**party.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with party.session.request(method, party.base + path, json=body, headers=sent) as answer:
            raw = await answer.read()
            received = f"{answer.headers}\n{raw.decode()}"
            self.log.append(f"{party.marker} {method} {path} {answer.status}")
            found = json_of(raw)
            check_documented(method, path, answer.status, answer.content_type, found)
        owners = self._owners(party, path, found)
        self.search(party, received, sent=f"{path} {json.dumps(body)} {sent}", allowed=owners)
        return Reply(answer.status, received, found)

    def search(self, party: Party, received: str, *, sent: str = "", allowed: Iterable[Party] = ()) -> None:
        """`sent`: the ids in it are known to the party already; markers are searched all the same."""
        party.received += len(received)
        for other in self.parties:
            if other is party or other in allowed:
                continue
            leaked = [own for own in other.own if own in received and (own == other.marker or own not in sent)]
            if leaked:
                history = "\n".join(self.log[-5:])
                raise LeakError(f"{party.marker} received {leaked} of {other.marker}:\n{history}\n{received}")

    def _owners(self, party: Party, path: str, found: Mapping[str, Any]) -> list[Party]:
        """The other parties of which this response may have something."""
        if party.kind == "admin":
            whole = any(part in path for part in ADMINS_MAY_READ)
            return [other for other in self.parties if whole or other.kind == "worker"]  # named in events
        if party.kind != "worker":
            return []
        claimed = str(found.get("id")) if path.endswith("/claim") else path.split("/")[-2]
        if path.endswith("/claim") and "lease" in found:
            party.leases[claimed] = str(found["lease"])
        return [owner for owner in self.parties if claimed in owner.generations] if claimed in party.leases else []

    async def follow(self, party: Party, path: str, *, within_s: float, **headers: str) -> None:
        """Reads an event stream for so long."""
        sent = {**party.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), party.session.get(party.base + path, headers=sent) as answer:
                received = str(answer.headers)
                self.log.append(f"{party.marker} follows {path} {answer.status}")
                try:
                    async for chunk in answer.content.iter_any():
                        received += chunk.decode(errors="replace")
                finally:
                    self.search(party, received, sent=path, allowed=self._owners(party, path, {}))
