"""A worker over HTTP: python my_worker.py, with API and WORKER_KEY in the environment."""

import json
import os
import struct
import time
import urllib.error
import urllib.request
import zlib
from typing import Any

API = os.environ.get("API", "http://127.0.0.1:3000")
KEY = os.environ.get("WORKER_KEY", "")
STEPS = 10


def call(path: str, **body: Any) -> Any:
    """The answer as a dictionary; None for 204. HTTPError 409: the job is no longer ours."""
    url = path if path.startswith("http") else API + path
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def upload(job: dict[str, Any], body: bytes) -> str:
    """Stores the image; the URL accepts this type and size alone. Returns its key."""
    target = call(job["urls"]["upload"], lease=job["lease"], mime_type="image/png", bytes=len(body))
    request = urllib.request.Request(target["url"], body, target["headers"], method=target["method"])
    with urllib.request.urlopen(request, timeout=300):
        return str(target["object_key"])


def png(width: int, height: int, seed: int) -> bytes:
    """Your model."""
    row = b"\0" + bytes([seed % 256, 120, 200]) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b"")):
        image += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return image


def work(job: dict[str, Any]) -> None:
    def report(kind: str, **fields: Any) -> None:
        call(job["urls"]["report"], lease=job["lease"], event={"type": f"generation.{kind}", **fields})

    report("started")
    for step in range(STEPS):
        time.sleep(0.1)  # a step of the model
        report("progressed", percent=100 * step / STEPS, stage="painting")
        state = call(job["urls"]["heartbeat"], lease=job["lease"])["state"]  # extends the lease
        if state in {"canceled", "deleted"}:
            report("canceled")
        if state != "running":
            return
    key = upload(job, png(job["width"], job["height"], job["seed"]))
    report("completed", outputs=[{"object_key": key, "width": job["width"], "height": job["height"]}])


def main() -> None:
    while True:
        try:
            job = call("/v1/worker/jobs/claim", wait_s=20, lease_s=30, worker="my-worker")
            if job is not None:
                work(job)
        except urllib.error.HTTPError as error:
            print(error.code, error.read().decode())
            if error.code in {401, 403}:
                raise SystemExit("the API does not accept WORKER_KEY") from error
            if error.code != 409:  # 409: the lease is lost, and another worker has the job
                time.sleep(1)
        except OSError as error:  # the API is unavailable; the job is queued again once its lease has ended
            print(error)
            time.sleep(1)


if __name__ == "__main__":
    main()
