"""Workers outside the fake take jobs and report on them by RunPod's worker API, as a container there does.

GET  /v2/{endpoint}/job-take/{worker}       a job, or 204 when there is none for a while
POST /v2/{endpoint}/job-done/{worker}/{job} its result, or progress: {"status": "IN_PROGRESS", "output": ...}
GET  /v2/{endpoint}/job-stop/{worker}       ids of jobs that were canceled, or whose time is over

Jobs whose script has `"worker": "outside"` are theirs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from gengui_stream.fakes.runpod.jobs import Job
from gengui_stream.fakes.runpod.worker import WorkerFailed

POLL_S: Final = 2.0
"""How long a request waits for a job, or for one to stop."""


@dataclass(slots=True)
class _Assignment:
    """`worker`: the id of the worker that took the job."""

    job: Job
    worker: str | None = None
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    result: "asyncio.Future[Mapping[str, JsonValue]]" = field(default_factory=asyncio.Future)


class OutsideWorkers:
    """Hands jobs of the endpoint to workers of other processes. A canceled job is not handed out."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Queue[_Assignment]] = defaultdict(asyncio.Queue)
        self._assignments: dict[str, _Assignment] = {}
        self._to_stop: dict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)

    async def taken(self, job: Job) -> None:
        """Returns once a worker has taken the job."""
        assignment = self._assignments[job.id] = _Assignment(job)
        self._waiting[job.endpoint].put_nowait(assignment)
        try:
            await assignment.taken.wait()
        except asyncio.CancelledError:
            self._drop(job)
            raise

    async def output(self, job: Job) -> JsonValue:
        """Returns the worker's output. Raises WorkerFailed with the worker's error. The worker of a job that is
        canceled meanwhile gets its id from job-stop."""
        assignment = self._assignments[job.id]
        try:
            result = await assignment.result
        except asyncio.CancelledError:
            self._to_stop[assignment.worker or ""].put_nowait(job.id)
            raise
        finally:
            self._drop(job)
        if "error" in result:
            raise WorkerFailed(str(result["error"]))
        return result.get("output")

    async def take(self, endpoint: str, worker: str) -> Mapping[str, object] | None:
        """The next job as a worker receives it; None after POLL_S without one."""
        try:
            async with asyncio.timeout(POLL_S):
                assignment = await self._next(endpoint)
        except TimeoutError:
            return None
        assignment.worker = worker
        assignment.taken.set()
        return {"id": assignment.job.id, "input": assignment.job.sent.input}

    async def _next(self, endpoint: str) -> _Assignment:
        while (assignment := await self._waiting[endpoint].get()).job.id not in self._assignments:
            pass
        return assignment

    def report(self, job_id: str, body: Mapping[str, JsonValue]) -> bool:
        """Takes progress or a result. False for a job that is not running: it was canceled, or has ended."""
        assignment = self._assignments.get(job_id)
        if assignment is None or assignment.result.done():
            return False
        if body.get("status") == "IN_PROGRESS":
            assignment.job.progress = body.get("output")
        else:
            assignment.result.set_result(body)
        return True

    async def stopped(self, worker: str) -> list[str]:
        """The ids of the jobs that this worker must stop; empty after POLL_S without one."""
        try:
            async with asyncio.timeout(POLL_S):
                return [await self._to_stop[worker].get()]
        except TimeoutError:
            return []

    def _drop(self, job: Job) -> None:
        self._assignments.pop(job.id, None)
