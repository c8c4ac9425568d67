"""The provider `local`: a Redis stream that GPU workers consume, in the format of the existing workers.

A job's hash `jobs:<id>` holds `status` (queued, then what the worker writes: processing, completed, failed; or
canceled), `attempt`, and `entryId`. A worker reads it before and during a run: `canceled`, or an attempt other than
its own, means stop. A cancellation also deletes an entry that no worker has read yet.

Workers send heartbeats, so the duration of a job is no sign of failure: the status of an attempt is queried once its
heartbeats stop. The hash then holds what a lost report contained. It has `heartbeats` if the worker that marked it
sends them, and `requeued` while the job is queued again after the lease of a worker over HTTP has ended.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final, cast

from gengui_stream.media.object_store import Bucket, looked_up
from gengui_stream.providers.context import ProviderContext
from gengui_stream.providers.interface import (
    CallPolicy,
    Canceled,
    CancelOutcome,
    Capabilities,
    Dispatched,
    DispatchOutcome,
    DispatchRequest,
    Finished,
    Lost,
    ProviderJob,
    Refused,
    Running,
    StatusOutcome,
    Superseded,
)
from gengui_stream.providers.local.redis_keys import (
    INDEX_MAX,
    JOB_KEPT_S,
    QUEUE_STREAM,
    WORKER_GROUP,
    job_key,
    model_index,
)
from gengui_stream.redis_io.data_types import Hashes
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.redis_io.scripts import Script
from gengui_stream.settings import Settings
from schemas.events import Output
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP

QUEUE_AHEAD: Final = 2
"""One for a worker that becomes free, and one for another."""


class LocalProvider:
    """Enqueues each attempt once, however often `dispatch` is called."""

    name: Final = "local"
    call_policy: Final = CallPolicy(max_concurrency=200, queue_ahead=QUEUE_AHEAD)

    def __init__(self, redis: SharedRedis, store: Bucket, models: tuple[str, ...] | None = None) -> None:
        """`models`: those of the workers; None: any."""
        self.capabilities: Final = Capabilities(
            size_min=SIZE_MIN, size_max=SIZE_MAX, size_step=SIZE_STEP, models=models, cancel=True, repeatable=True
        )
        self._store = store
        self._hashes = Hashes(redis)
        self._enqueue = Script(redis, _script("enqueue.lua"))
        self._cancel = Script(redis, _script("cancel.lua"))
        self._waiting = Script(redis, _script("waiting.lua"))

    def model_for(self, requested: str) -> str:
        return requested  # also one that is not offered: producers other than the API may ask for it

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        fields = [text for field in _entry(request).items() for text in field]
        keys = [job_key(request.generation_id), QUEUE_STREAM, model_index(request.model)]
        reply = await self._enqueue(keys, [request.attempt, JOB_KEPT_S, INDEX_MAX, *fields])
        found, entry_id = cast(tuple[str, str], reply)
        return Dispatched(entry_id) if found in {"queued", "known"} else Superseded()

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        """Also enqueues an attempt again whose entry was lost with the stream."""
        known = await self._hashes.read(job_key(request.generation_id))
        if known.get("attempt") != str(request.attempt):
            known = {}
        waiting = known.get("status") in {None, "queued"}
        if waiting and (job.started_at is None or "requeued" in known):
            await self.dispatch(request)
            return Running(note="queued")
        outcome = _status(known)
        if isinstance(outcome, Lost) and known and _sends_no_heartbeats(known, job):
            return Running(note="its worker sends no heartbeats")
        return await self._verified(outcome)

    async def _verified(self, outcome: StatusOutcome) -> StatusOutcome:
        """A completion that the worker wrote and could not report counts only with its object."""
        if not isinstance(outcome, Finished):
            return outcome
        found = await looked_up(self._store, [output.object_key for output in outcome.outputs])
        missing = [key for key, facts in found.items() if facts is None]
        if not missing:
            return outcome
        return Refused("object_missing", f"not in the object store: {', '.join(missing)}"[:500], retryable=True)

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        keys = [job_key(request.generation_id), QUEUE_STREAM]
        outcome = await self._cancel(keys, [request.attempt, JOB_KEPT_S])
        return CancelOutcome(str(outcome))

    async def waiting(self, model: str, most: int) -> int | None:
        """Entries of the model that no worker has read: workers may take those of some models alone."""
        return int(cast(int, await self._waiting([QUEUE_STREAM], [WORKER_GROUP, model, most])))


@asynccontextmanager
async def open_local(context: ProviderContext) -> AsyncIterator[LocalProvider]:
    yield LocalProvider(context.redis, context.store, _models(context.settings))


def _models(settings: Settings) -> tuple[str, ...] | None:
    """LOCAL_MODELS, without duplicates."""
    if settings.local_models == "*":
        return None
    return tuple(dict.fromkeys((settings.local_models or settings.default_model).split(",")))


def _status(known: Mapping[str, str]) -> StatusOutcome:
    """What the worker wrote last: its report was lost, or the worker died."""
    match known.get("status"):
        case "completed" if known.get("s3Key"):
            return Finished((Output(object_key=known["s3Key"]),))
        case "failed":
            return Refused("worker_failed", known.get("error") or "the worker gave no reason", retryable=False)
        case "canceled":
            return Canceled()
        case _:
            return Lost("its worker shows no sign of life")


def _sends_no_heartbeats(known: Mapping[str, str], job: ProviderJob) -> bool:
    """Of a worker of the original service, silence says nothing: its attempt runs until its deadline. Other workers say
    in the hash that they send heartbeats, or report with the attempt's number."""
    return "heartbeats" not in known and (job.started_at is None or not job.sends_heartbeats)


def _entry(request: DispatchRequest) -> dict[str, str]:
    """With the trace context, where there is one: the worker goes on with it."""
    traced = {"traceparent": request.traceparent} if request.traceparent else {}
    return traced | {
        "userId": str(request.owner_id),
        "mediaId": str(request.generation_id),
        "prompt": request.prompt,
        "seed": str(request.seed),
        "width": str(request.width),
        "height": str(request.height),
        "status": "queued",
        "attempt": str(request.attempt),
        "model": request.model,
    }


def _script(name: str) -> str:
    return (files("gengui_stream.providers.local") / name).read_text()
