"""A worker over Redis, as the original service has them."""

import os
import struct
import time
import zlib
from typing import Any

import boto3
from redis import Redis, ResponseError

QUEUE, GROUP, STATUSES, ME = "generation:stream", "generation-workers", "job:status:stream", f"my-worker-{os.getpid()}"
STEPS = 10


def png(width: int, height: int, seed: int) -> bytes:
    """Your model."""
    row = b"\0" + bytes([seed % 256, 120, 200]) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b"")):
        image += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return image


class Worker:
    def __init__(self) -> None:
        self.redis: Any = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
        region = os.environ.get("AWS_REGION", "us-east-1")
        self.store = boto3.client("s3", endpoint_url=os.environ.get("S3_ENDPOINT"), region_name=region)
        self.bucket = os.environ.get("S3_BUCKET", "gengui-media")

    def run(self) -> None:
        try:
            self.redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):  # another worker has created it
                raise
        while True:
            for entry_id, job in self.next_entries():
                if job:  # else it was canceled
                    self.work(entry_id, job)
                self.redis.xack(QUEUE, GROUP, entry_id)
                self.redis.xdel(QUEUE, entry_id)

    def next_entries(self) -> list[tuple[str, dict[str, str]]]:
        """One entry: of a worker that died, or else a new one."""
        abandoned = self.redis.xautoclaim(QUEUE, GROUP, ME, 30_000, count=1)[1]
        read = self.redis.xreadgroup(GROUP, ME, {QUEUE: ">"}, count=1, block=1000) if not abandoned else []
        return abandoned or [entry for _, entries in read for entry in entries]

    def work(self, entry_id: str, job: dict[str, str]) -> None:
        if self.stopped(entry_id, job):
            return
        self.report(job, "processing")
        for _ in range(STEPS):
            time.sleep(0.1)  # a step of the model
            if self.stopped(entry_id, job):
                self.redis.xadd(STATUSES, {"mediaId": job["mediaId"], "status": "failed", "error": "canceled"})
                return
        key = f"users/{job['userId']}/media/{job['mediaId']}.png"
        body = png(int(job["width"]), int(job["height"]), int(job["seed"]))
        self.store.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="image/png")
        self.report(job, "completed", s3Key=key)

    def report(self, job: dict[str, str], status: str, **fields: str) -> None:
        self.redis.hset(f"jobs:{job['mediaId']}", mapping={"status": status, **fields})
        self.redis.xadd(STATUSES, {"mediaId": job["mediaId"], "status": status, **fields})

    def stopped(self, entry_id: str, job: dict[str, str]) -> bool:
        """Canceled, or replaced by a later attempt. The heartbeat keeps other workers from the entry."""
        self.redis.xclaim(QUEUE, GROUP, ME, 0, [entry_id], idle=0, justid=True)
        status, attempt = self.redis.hmget(f"jobs:{job['mediaId']}", "status", "attempt")
        return bool(status == "canceled" or attempt not in {None, job.get("attempt")})


if __name__ == "__main__":
    Worker().run()
