"""A worker over HTTP, step by step, as a test wants it."""

from dataclasses import dataclass

from redis.asyncio import Redis
from yarl import URL

from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from tests.integration.api.client import Client, Json
from tests.integration.running import eventually

CLAIM = "/v1/worker/jobs/claim"


@dataclass
class JobWorker:
    """Calls answer with status and body."""

    client: Client

    async def claim(self, **body: object) -> tuple[int, Json]:
        status, _, found = await self.client.call("POST", CLAIM, json={"lease_s": 600, **body})
        return status, found

    async def claimed(self, **body: object) -> Json:
        status, found = await self.claim(wait_s=60, **body)
        assert status == 200, found
        return found

    async def on(self, job: Json, step: str, **body: object) -> tuple[int, Json]:
        path = f"/v1/worker/jobs/{job['id']}/{step}"
        status, _, found = await self.client.call("POST", path, json={"lease": job["lease"], **body})
        return status, found

    async def state(self, job: Json) -> str:
        status, found = await self.on(job, "heartbeat")
        assert status == 200, found
        return str(found["state"])

    async def report(self, job: Json, kind: str, **fields: object) -> tuple[int, Json]:
        return await self.on(job, "report", event={"type": f"generation.{kind}", **fields})

    async def uploaded(self, job: Json, body: bytes, mime_type: str = "image/png") -> str:
        """The key of the object."""
        status, found = await self.on(job, "upload", mime_type=mime_type, bytes=len(body))
        assert status == 200, found
        await self.put(found, body)
        return str(found["object_key"])

    async def put(self, upload: Json, body: bytes) -> None:
        url = URL(upload["url"], encoded=True)
        async with self.client.session.put(url, data=body, headers=upload["headers"]) as answer:
            assert answer.status == 200, await answer.text()

    async def completed(self, job: Json, body: bytes) -> tuple[int, Json]:
        key = await self.uploaded(job, body)
        return await self.report(job, "completed", outputs=[{"object_key": key}])


async def reaches(user: Client, generation_id: str, status: str) -> Json:
    """The generation once it has the status."""

    async def look() -> Json:
        found = await user.get(f"/v1/generations/{generation_id}")
        return found if found["status"] == status else {}

    return await eventually(look)


async def queued(redis: Redis, number: int = 1) -> bool:
    return int(await redis.xlen(QUEUE_STREAM)) == number
