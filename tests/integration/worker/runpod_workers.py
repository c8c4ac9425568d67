"""A worker of RunPod in this process: takes jobs and reports on them as the SDK does, without the SDK."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp

from gengui_stream.worker.runpod import Progress

Handle: TypeAlias = Callable[[object, Progress], Awaitable[Mapping[str, object]]]


class SdkWorker:
    """`taken`: the ids of jobs in order; `stopped`: the ids in responses of job-stop."""

    def __init__(self, endpoint_url: str, key: str, handle: Handle) -> None:
        self._url, self._handle = endpoint_url, handle
        self._session = aiohttp.ClientSession(headers={"Authorization": key})
        self._sent: set[asyncio.Task[None]] = set()
        self.taken: list[str] = []
        self.stopped: list[str] = []

    async def work(self) -> None:
        async with self._session, asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                async with self._session.get(f"{self._url}/job-take/w1?gpu=none&job_in_progress=0") as answer:
                    job = await answer.json() if answer.status == 200 else None
                if job is not None:
                    self.taken.append(job["id"])
                    await self._report(job["id"], await self._result(job))

    async def _listen(self) -> None:
        while True:
            async with self._session.get(f"{self._url}/job-stop/w1?gpu=none") as answer:
                self.stopped += (await answer.json())["jobsToStop"]

    async def _result(self, job: Mapping[str, Any]) -> Mapping[str, object]:
        def progress(said: Mapping[str, object]) -> None:
            loop.call_soon_threadsafe(self._update, job["id"], said)

        loop = asyncio.get_running_loop()
        try:
            return {"output": await self._handle(job["input"], progress)}
        except Exception as error:  # noqa: BLE001 - whatever the handler raises fails its job
            said = {"error_type": str(type(error)), "error_message": str(error)}
            return {"error": json.dumps(said | {"error_traceback": traceback.format_exc(), "worker_id": "w1"})}

    def _update(self, job_id: str, said: Mapping[str, object]) -> None:
        update = {"status": "IN_PROGRESS", "output": said}
        task = asyncio.ensure_future(self._report(job_id, update))
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)

    async def _report(self, job_id: str, body: Mapping[str, object]) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = f"{self._url}/job-done/w1/{job_id}?gpu=none&isStream=false"
        async with self._session.post(url, data=json.dumps(body), headers=headers):
            pass


@asynccontextmanager
async def sdk_worker(endpoint_url: str, key: str, handle: Handle) -> AsyncIterator[SdkWorker]:
    """Runs the worker while the block runs."""
    worker = SdkWorker(endpoint_url, key, handle)
    task = asyncio.ensure_future(worker.work())
    try:
        yield worker
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
