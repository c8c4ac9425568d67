"""The jobs of the fake RunPod, from /run until they are deleted."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, JsonValue
from pydantic.alias_generators import to_camel

from gengui_stream.fakes.calls import Run
from gengui_stream.fakes.runpod.script import Forgery, JobLife
from gengui_stream.fakes.runpod.webhooks import PAUSE_S, Webhooks
from gengui_stream.fakes.runpod.worker import WorkerFailed, traceback_json

KEPT_S: Final = 1_800.0
"""How long an ended job is kept."""

WORKERS: Final = 3
"""Of an idle endpoint."""

DAY_MS, WEEK_MS = 86_400_000, 7 * 86_400_000

AT_THE_END: Final[Forgery] = "finished_job"

Ended: TypeAlias = Literal["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"]


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class Policy(_Sent):
    """Milliseconds, within the limits that RunPod documents."""

    execution_timeout: Annotated[int, Field(ge=5_000, le=WEEK_MS)] = 600_000
    ttl: Annotated[int, Field(ge=10_000, le=WEEK_MS)] = DAY_MS
    low_priority: bool = False


class RunBody(_Sent):
    """The body of /run."""

    input: dict[str, JsonValue]
    webhook: HttpUrl | None = None
    policy: Policy = Policy()


@dataclass(slots=True, kw_only=True)
class Job:
    """A job. `ended` None: queued or running."""

    endpoint: str
    sent: RunBody
    life: JobLife
    run: Run
    id: str = field(default_factory=lambda: f"{uuid4()}-u1")
    created_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    ended_at: float | None = None
    ended: Ended | None = None
    progress: JsonValue = None
    output: JsonValue = None
    error: str | None = None

    def end(self, how: Ended, *, output: JsonValue = None, error: str | None = None) -> None:
        self.ended, self.ended_at = how, time.monotonic()
        self.output, self.error = output, error
        self.run.end()

    def body(self, now: float) -> dict[str, object]:
        """The body of /status, and of the webhook once the job has ended."""
        if self.started_at is None and self.ended is None:
            return {"id": self.id, "status": self.life.queued_word}
        if self.ended_at is None or (self.life.late_progress_s and now < self.ended_at + self.life.late_progress_s):
            running = {"id": self.id, "status": self.life.running_word, **self._times()}
            return running if self.progress is None else {**running, "output": self.progress}
        return self.last_body()

    def last_body(self) -> dict[str, object]:
        body = {"id": self.id, "status": self.ended or self.life.running_word, **self._times()}
        results = {"output": self.output, "error": self.error}
        return body | {name: value for name, value in results.items() if value is not None}

    def _times(self) -> dict[str, object]:
        started, ended = self.started_at, self.ended_at
        if started is None:
            return {}
        times: dict[str, object] = {"delayTime": round((started - self.created_at) * 1_000), "workerId": "fake-worker"}
        return times if ended is None else {**times, "executionTime": round((ended - started) * 1_000)}


class Jobs:
    """All jobs, each with a task that runs it. `work` returns the output of a job, once a worker has `taken` it."""

    def __init__(
        self, taken: Callable[[Job], Awaitable[None]], work: Callable[[Job], Awaitable[JsonValue]], webhooks: Webhooks
    ) -> None:
        self._taken, self._work, self._webhooks = taken, work, webhooks
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended = Counter[tuple[str, Ended]]()

    def get(self, endpoint: str, job_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.endpoint == endpoint else None

    def begin(self, job: Job, speed: float) -> None:
        self._jobs[job.id] = job
        task = asyncio.create_task(self._remembered(job, speed), name=job.id)
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    def cancel(self, job: Job) -> None:
        """Has no effect on an ended job."""
        if job.ended is None:
            self._end(job, "CANCELLED")
            self._tasks[job.id].cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def health(self, endpoint: str) -> dict[str, Mapping[str, int]]:
        """The body of /health; the state of the workers is that of the queued jobs' scripts."""
        here = [job for job in self._jobs.values() if job.endpoint == endpoint and job.ended is None]
        waiting = Counter(job.life.workers for job in here if job.started_at is None)
        running, ended = sum(job.started_at is not None for job in here), self._ended
        jobs = {
            "completed": ended[endpoint, "COMPLETED"],
            "failed": ended[endpoint, "FAILED"] + ended[endpoint, "TIMED_OUT"],
            "inProgress": running,
            "inQueue": waiting.total(),
            "retried": 0,
        }
        warm = max(0, WORKERS - running) if not waiting or waiting["ready"] else 0
        workers = {
            "idle": warm,
            "initializing": min(1, waiting["cold"]),
            "ready": warm,
            "running": running,
            "throttled": min(WORKERS, waiting["throttled"]),
            "unhealthy": min(WORKERS, waiting["crashing"]),
        }
        return {"jobs": jobs, "workers": workers}

    async def _remembered(self, job: Job, speed: float) -> None:
        """Runs the job, keeps it for a while, deletes it; at its ttl in any state."""
        kept = KEPT_S / speed if job.life.vanish_s is None else job.life.vanish_s
        until_ttl = asyncio.timeout(job.sent.policy.ttl / 1_000 / speed)
        try:
            async with until_ttl:
                await self._live(job, speed)
                await self._keep(job, kept, speed)
        except TimeoutError:
            if not until_ttl.expired():
                raise
        except asyncio.CancelledError:
            if job.ended != "CANCELLED":
                raise
            await asyncio.sleep(kept)
        self._forget(job)

    async def _keep(self, job: Job, kept: float, speed: float) -> None:
        """Webhooks may still be sent after the job was deleted."""
        if job.ended is not None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell(job, speed))
                await asyncio.sleep(kept)
                self._forget(job)

    def _forget(self, job: Job) -> None:
        job.run.end()
        self._jobs.pop(job.id, None)

    async def _live(self, job: Job, speed: float) -> None:
        await asyncio.sleep(job.life.queue_s)
        await self._taken(job)
        job.started_at = time.monotonic()
        await self._forge(job, [kind for kind in job.life.forged if kind != AT_THE_END])
        until_policy = asyncio.timeout(job.sent.policy.execution_timeout / 1_000 / speed)
        try:
            async with until_policy:
                await self._execute(job)
        except TimeoutError:
            if not until_policy.expired():
                raise
            self._end(job, "TIMED_OUT", error="job timed out")

    async def _execute(self, job: Job) -> None:
        if job.life.worker == "outside":
            return await self._complete(job)
        pause_s = job.life.run_s / (len(job.life.progress) + 1)
        for progress in job.life.progress:
            await asyncio.sleep(pause_s)
            job.progress = progress
        await asyncio.sleep(pause_s)
        return await self._end_as_scripted(job)

    async def _end_as_scripted(self, job: Job) -> None:
        match job.life.end:
            case "completed":
                await self._complete(job)
            case "failed":
                error = traceback_json("torch.cuda.OutOfMemoryError", "CUDA out of memory.")
                self._end(job, "FAILED", error=error)
            case "failed_plainly":
                self._end(job, "FAILED", error="prompt could not be encoded")
            case "timed_out":
                self._end(job, "TIMED_OUT", error="job timed out")
            case "never":
                await asyncio.Event().wait()
            case "lost":
                pass

    async def _complete(self, job: Job) -> None:
        try:
            output = await self._work(job)
        except WorkerFailed as error:
            self._end(job, "FAILED", error=str(error))
        else:
            self._end(job, "COMPLETED", output=output)

    def _end(self, job: Job, how: Ended, *, output: JsonValue = None, error: str | None = None) -> None:
        job.end(how, output=output, error=error)
        self._ended[job.endpoint, how] += 1

    async def _tell(self, job: Job, speed: float) -> None:
        if job.sent.webhook is None:
            return
        await asyncio.sleep(job.life.webhook_s)
        url, body = str(job.sent.webhook), job.last_body()
        sent = (self._webhooks.send(url, job.id, body, PAUSE_S / speed) for _ in range(job.life.webhooks))
        await asyncio.gather(*sent)
        await self._forge(job, [kind for kind in job.life.forged if kind == AT_THE_END])

    async def _forge(self, job: Job, kinds: list[Forgery]) -> None:
        if job.sent.webhook is not None:
            for kind in kinds:
                await self._webhooks.forge(kind, str(job.sent.webhook), job.id, job.body(time.monotonic()))
