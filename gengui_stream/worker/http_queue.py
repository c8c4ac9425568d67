"""The queue of a worker that reaches the API and nothing else: its entries are jobs under leases."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, assert_never
from uuid import UUID

from gengui_stream.providers.local.entries import InvalidMessage
from gengui_stream.redis_io.streams import StreamEntry
from gengui_stream.worker.http_jobs import HttpJobs, LeaseLost
from gengui_stream.worker.job import DrawingJob
from gengui_stream.worker.queue import Ownership
from schemas.worker_jobs import ClaimedJob

WAIT_S: Final = 5.0
"""The longest delay until a worker notices a shutdown."""

UNKNOWN_OWNER: Final = UUID(int=0)
"""The API builds the object keys, so it alone needs the owner."""


class HttpWorkQueue:
    """Keeps the contract of `WorkQueue`. The API counts deliveries, and records the outcome with the report."""

    def __init__(self, jobs: HttpJobs, *, lease_s: float) -> None:
        self._jobs = jobs
        self._lease_s = lease_s

    async def create(self) -> None:
        """Nothing to prepare."""

    async def take(self) -> StreamEntry | None:
        job = await self._jobs.claim(wait_s=WAIT_S, lease_s=self._lease_s)
        return None if job is None else StreamEntry(str(job.id), _fields(job))

    async def deliveries(self, entry_id: str) -> int:
        return 1

    async def heartbeat(self, entry_id: str) -> bool:
        """The heartbeat to the log extends the lease, and says whether it is held."""
        return True

    async def release(self, entry_id: str) -> None:
        with suppress(LeaseLost):
            await self._jobs.release(UUID(entry_id))

    async def done(self, entry_id: str) -> None:
        self._jobs.leases.pop(UUID(entry_id), None)

    async def dead_letter(self, entry: StreamEntry, invalid: InvalidMessage) -> None:
        """Never called: every job names its generation."""

    async def upload(self, job: DrawingJob, body: bytes, mime_type: str) -> str:
        return await self._jobs.upload(job.generation_id, body, mime_type)

    async def ownership(self, job: DrawingJob) -> Ownership:
        try:
            standing = await self._jobs.heartbeat(job.generation_id)
        except LeaseLost:
            return Ownership.LOST
        match standing.state:
            case "running":
                return Ownership.OURS
            case "canceled" | "deleted":
                return Ownership.CANCELED
            case "superseded" | "ended":
                return Ownership.ENDED
            case _:
                assert_never(standing.state)

    async def mark(self, job: DrawingJob, status: str, more: Mapping[str, str] | None = None) -> Ownership:
        """The report of an end has already recorded it."""
        return await self.ownership(job) if status == "processing" else Ownership.OURS

    async def leave(self) -> None:
        """Leases end by themselves."""


def _fields(job: ClaimedJob) -> Mapping[str, str]:
    """The job as an entry of the stream has it."""
    return {
        "userId": str(UNKNOWN_OWNER),
        "mediaId": str(job.id),
        "prompt": job.prompt,
        "seed": str(job.seed),
        "width": str(job.width),
        "height": str(job.height),
        "attempt": str(job.attempt),
        "model": job.model,
        **({"traceparent": job.traceparent} if job.traceparent else {}),
    }
