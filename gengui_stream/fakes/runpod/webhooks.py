"""RunPod's webhooks: unsigned, up to three attempts until a response has status 200; forged ones are sent once."""

import asyncio
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from gengui_stream.fakes.runpod.script import Forgery

TRIES: Final = 3
PAUSE_S: Final = 10.0
TIMEOUT: Final = ClientTimeout(total=10)

Kind: TypeAlias = Literal["genuine"] | Forgery


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. `status` None: no response."""

    job: str
    kind: Kind
    url: str
    number: int
    status: int | None


class Webhooks:
    """Sends webhooks and records their deliveries."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.deliveries: list[Delivery] = []

    async def send(self, url: str, job: str, body: object, pause_s: float) -> None:
        for number in range(1, TRIES + 1):
            if number > 1:
                await asyncio.sleep(pause_s)
            if await self._try(url, job, "genuine", orjson.dumps(body), number) == 200:
                return

    async def forge(self, kind: Forgery, url: str, job: str, body: dict[str, object]) -> None:
        """`body`: that of a genuine webhook at this time, of which the forged one claims the opposite."""
        address = _other_token(url) if kind == "wrong_token" else url
        await self._try(address, job, kind, _forged(kind, body), 1)

    async def _try(self, url: str, job: str, kind: Kind, body: bytes, number: int) -> int | None:
        status = await self._posted(url, body)
        self.deliveries.append(Delivery(job, kind, url, number, status))
        return status

    async def _posted(self, url: str, body: bytes) -> int | None:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=body, headers=headers, timeout=TIMEOUT) as response:
                return response.status
        except (ClientError, TimeoutError, OSError):
            return None


def _forged(kind: Forgery, body: dict[str, object]) -> bytes:
    if kind == "not_json":
        return b"<html>not json</html>"
    if kind == "finished_job":
        return orjson.dumps({"id": body["id"], "status": "FAILED", "error": "forged"})
    job = "00000000-0000-4000-8000-000000000000-u1" if kind == "unknown_job" else body["id"]
    return orjson.dumps({"id": job, "status": "COMPLETED", "output": {"object_key": "forged/output.png"}})


def _other_token(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rpartition("/")[0] + "/forged"))
