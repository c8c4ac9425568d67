import asyncio
from uuid import UUID

from gengui_stream.settings import load_settings
from gengui_stream.worker.client import open_worker_client
from schemas.events import Output


async def report(generation_id: UUID) -> None:
    async with open_worker_client(load_settings(), "my-worker") as client:
        await client.started(generation_id, attempt=1)
        await client.progressed(generation_id, 40, stage="denoising", attempt=1)
        output = Output(object_key=f"outputs/{generation_id}.png", mime_type="image/png")
        await client.completed(generation_id, [output], attempt=1)


if __name__ == "__main__":
    asyncio.run(report(UUID("0195b7a0-0000-7000-8000-000000000000")))
