"""Jobs over HTTP, for workers that reach the API and nothing else: claim, heartbeat, upload, report, release.

    async with open_worker_client(load_settings(), "my-worker") as client:  # with WORKER_TRANSPORT=http
        job = await client.jobs.claim(models=["my-model"])

Methods raise TransientError when the call may be repeated, LeaseLost when the job is no longer this worker's, and
PermanentError when the call will never be accepted.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import Final, TypeVar
from uuid import UUID

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.tracing.spans import current_traceparent, valid_traceparent
from schemas.worker_jobs import ClaimedJob, JobReceipt, JobStanding, UploadUrl

JOBS_PATH: Final = "/v1/worker/jobs"
ANSWER_TIMEOUT_S: Final = 30.0
UPLOAD_TIMEOUT_S: Final = 300.0
PASSING_STATUSES: Final = frozenset({408, 425, 429})

Answer = TypeVar("Answer")

_claimed: Final = TypeAdapter(ClaimedJob)
_standing: Final = TypeAdapter(JobStanding)
_receipt: Final = TypeAdapter(JobReceipt)
_upload: Final = TypeAdapter(UploadUrl)


class LeaseLost(PermanentError):
    """Another worker has the job, or it is queued again."""


class HttpJobs:
    """The jobs that this worker has claimed. `leases`: their leases, by the generation's id. Calls go on with the
    current span, or with the trace of the job."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, worker: str) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + JOBS_PATH
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._worker = worker
        self.leases: dict[UUID, str] = {}
        self._traces: dict[UUID, str] = {}

    async def claim(
        self, models: Sequence[str] | None = None, *, wait_s: float = 20.0, lease_s: float = 30.0
    ) -> ClaimedJob | None:
        """The oldest queued job, of these models if any are given; None after `wait_s` without one."""
        asked = {"models": models, "wait_s": wait_s, "lease_s": lease_s, "worker": self._worker}
        status, body = await self._post("claim", asked, wait_s)
        if status == HTTPStatus.NO_CONTENT:
            return None
        job = _read(_claimed, body)
        self._traces = {held: trace for held, trace in self._traces.items() if held in self.leases}
        self.leases[job.id] = job.lease
        if traceparent := valid_traceparent(job.traceparent):
            self._traces[job.id] = traceparent
        return job

    async def heartbeat(self, generation_id: UUID) -> JobStanding:
        """Extends the lease; says whether the job still counts."""
        return _read(_standing, await self._on(generation_id, "heartbeat", {}))

    async def upload(self, generation_id: UUID, body: bytes, mime_type: str, output_id: str = "0") -> str:
        """Stores one output; returns its object key, for the report."""
        asked = {"mime_type": mime_type, "bytes": len(body), "output_id": output_id}
        target = _read(_upload, await self._on(generation_id, "upload", asked))
        limit = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S)
        url = URL(target.url, encoded=True)
        status, answer = await self._send(target.method, url, body, target.headers, limit)
        _check(status, answer)
        return target.object_key

    async def report(self, generation_id: UUID, event: Mapping[str, object]) -> JobReceipt:
        """One event, as `schemas.worker_jobs.JobEvent`. An end also ends the lease."""
        receipt = _read(_receipt, await self._on(generation_id, "report", {"event": event}))
        if receipt.lease_expires_at is None:
            self.leases.pop(generation_id, None)
        return receipt

    async def release(self, generation_id: UUID) -> None:
        """Queues the job again, for another worker."""
        await self._on(generation_id, "release", {})
        self.leases.pop(generation_id, None)

    async def _on(self, generation_id: UUID, step: str, body: Mapping[str, object]) -> bytes:
        lease = self.leases.get(generation_id)
        if lease is None:
            raise LeaseLost(f"{generation_id} is not claimed")
        try:
            traceparent = current_traceparent() or self._traces.get(generation_id)
            _, answer = await self._post(f"{generation_id}/{step}", {"lease": lease, **body}, traceparent=traceparent)
        except LeaseLost:
            if self.leases.get(generation_id) == lease:
                del self.leases[generation_id]
            raise
        return answer

    async def _post(
        self, path: str, body: Mapping[str, object], wait_s: float = 0.0, traceparent: str | None = None
    ) -> tuple[int, bytes]:
        limit = aiohttp.ClientTimeout(total=wait_s + ANSWER_TIMEOUT_S)
        url = URL(f"{self._url}/{path}")
        headers = self._headers | ({"traceparent": traceparent} if traceparent else {})
        status, answer = await self._send("POST", url, orjson.dumps(body), headers, limit)
        _check(status, answer)
        return status, answer

    async def _send(
        self,
        method: str,
        url: URL,
        body: bytes,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> tuple[int, bytes]:
        data = BytesIO(body)  # sent in chunks
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransientError(f"{url.origin()}{url.path}: {type(error).__name__}: {error}") from error


def _check(status: int, body: bytes) -> None:
    if status < 300:
        return
    message = f"{status}: {body[:300].decode(errors='replace')}"
    if status in PASSING_STATUSES or status >= 500:
        raise TransientError(message)
    raise LeaseLost(message) if status == HTTPStatus.CONFLICT else PermanentError(message)


def _read(adapter: TypeAdapter[Answer], body: bytes) -> Answer:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise PermanentError(f"the API's answer cannot be read: {error.error_count()} faults") from error
