"""A worker that reports to the log."""

import asyncio
import os
from io import BytesIO
from typing import Any
from uuid import UUID

from PIL import Image
from redis import ResponseError
from redis.asyncio import Redis

from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.settings import load_settings
from gengui_stream.worker.client import WorkerClient, open_worker_client
from schemas.events import Output

QUEUE, GROUP, ME = "generation:stream", "generation-workers", f"my-worker-{os.getpid()}"
STEPS = 10


def png(width: int, height: int, seed: int) -> bytes:
    """Your model."""
    body = BytesIO()
    Image.new("RGB", (width, height), (seed % 256, 120, 200)).save(body, "PNG")
    return body.getvalue()


async def work(redis: Any, client: WorkerClient, store: ObjectStore, entry_id: str, job: dict[str, str]) -> None:
    generation_id, attempt, state = UUID(job["mediaId"]), int(job["attempt"]), f"jobs:{job['mediaId']}"
    await redis.hset(state, mapping={"status": "processing", "heartbeats": "1"})
    await client.started(generation_id, attempt=attempt)
    for step in range(STEPS):
        await asyncio.sleep(0.1)  # a step of the model
        await redis.xclaim(QUEUE, GROUP, ME, 0, [entry_id], idle=0, justid=True)  # keeps other workers from the entry
        await client.progressed(generation_id, 100 * step / STEPS, stage="painting", attempt=attempt)
        status, current = await redis.hmget(state, "status", "attempt")
        if status == "canceled":
            await client.canceled(generation_id, attempt=attempt)
            return
        if current not in {None, job["attempt"]}:  # a later attempt has begun
            return
    width, height = int(job["width"]), int(job["height"])
    body, key = png(width, height, int(job["seed"])), media_key(UUID(job["userId"]), generation_id, "image/png")
    await store.put(key, body, "image/png")
    output = Output(object_key=key, mime_type="image/png", width=width, height=height, bytes=len(body))
    await client.completed(generation_id, [output], attempt=attempt)
    await redis.hset(state, mapping={"status": "completed", "s3Key": key})


async def next_entries(redis: Any) -> list[tuple[str, dict[str, str]]]:
    """One entry: of a worker that died, or else a new one."""
    abandoned = (await redis.xautoclaim(QUEUE, GROUP, ME, 30_000, count=1))[1]
    read = await redis.xreadgroup(GROUP, ME, {QUEUE: ">"}, count=1, block=1000) if not abandoned else []
    return abandoned or [entry for _, entries in read for entry in entries]


async def main() -> None:
    settings = load_settings()
    redis: Any = Redis.from_url(settings.redis_dsn, decode_responses=True)
    async with open_worker_client(settings, "my-worker") as client, open_object_store(settings) as store:
        try:
            await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):  # another worker has created it
                raise
        while True:
            for entry_id, job in await next_entries(redis):
                if job:  # else it was canceled
                    await work(redis, client, store, entry_id, job)
                await redis.xack(QUEUE, GROUP, entry_id)
                await redis.xdel(QUEUE, entry_id)


if __name__ == "__main__":
    asyncio.run(main())
