"""The provider `runpod`: jobs on a queue-based endpoint whose workers implement `schemas.runpod_worker`.

A worker stores its image under an object key that is known in advance, so the image is found whatever happens to the
job, and whatever RunPod says about it. Without an image, RunPod's /status decides; a webhook only triggers that query.

A call of /run whose response is lost may have submitted a job. Nothing else is started until RunPod has deleted it: its
`ttl` is chosen so that it ends a fixed time after the attempt was announced, however late the call is made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_keys import media_key
from gengui_stream.providers.context import ProviderContext
from gengui_stream.providers.interface import (
    CallPolicy,
    CancelOutcome,
    Capabilities,
    DispatchOutcome,
    DispatchRequest,
    FaultDomain,
    Finished,
    Lost,
    ProviderJob,
    Refused,
    Running,
    StatusOutcome,
)
from gengui_stream.providers.output_store import OutputStore
from gengui_stream.providers.runpod.client import NotSent, RunpodClient
from gengui_stream.providers.runpod.health import Diagnosis, diagnose, queued_of, workers_of
from gengui_stream.providers.runpod.outcomes import timed, without_image
from gengui_stream.providers.runpod.policy import Policy, RunpodPlan
from gengui_stream.providers.runpod.responses import (
    JobReport,
    JobState,
    failure_of_output,
    inline_image,
    report_of,
    run_outcome,
)
from schemas.events import Output
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP
from schemas.runpod_worker import RunpodWorkerInput

FRESH_S: Final = 5.0
"""RunPod may not find a job that it has accepted this recently."""

HEALTH_CACHED_S: Final = 4.0
QUEUE_AHEAD: Final = 10
"""RunPod starts workers by the length of the queue: the original service ran with at most ten."""

QUEUE_POLL_INTERVAL_S: Final = 1.0
IMAGE_MAX_BYTES: Final = 64 * 1024 * 1024

_log = structlog.get_logger(__name__)


class RunpodProvider:
    """Submits jobs to the configured endpoint, and queries each at the endpoint that accepted it."""

    name: Final = "runpod"

    def __init__(
        self, plan: RunpodPlan, client: RunpodClient, outputs: OutputStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._client = client
        self._outputs = outputs
        self._clock = clock
        self._health: dict[str, tuple[float, Diagnosis]] = {}
        self.capabilities: Final = Capabilities(
            size_min=SIZE_MIN,
            size_max=SIZE_MAX,
            size_step=SIZE_STEP,
            models=plan.models,
            cancel=True,
            observable=True,
        )
        self.call_policy: Final = CallPolicy(
            max_concurrency=100,
            in_doubt_s=plan.in_doubt_s,
            heartbeat_timeout_s=plan.heartbeat_timeout_s,
            poll_interval_s=plan.poll_interval_s,
            queue_ahead=QUEUE_AHEAD,
            queue_poll_interval_s=QUEUE_POLL_INTERVAL_S,
        )

    def model_for(self, requested: str) -> str:
        return requested if requested in self._plan.models else self._plan.default_model

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        """Returns the image of an earlier attempt that finished late, if there is one."""
        now = datetime.now(UTC)
        policy = self._plan.policy(request, now)
        if policy is None:
            return Refused(
                "too_late", "the attempt was called too late", retryable=True, fault_domain=FaultDomain.REQUEST
            )
        if request.attempt > 1 and (earlier := await self._earlier_output(request)) is not None:
            return earlier
        endpoint_id = self._plan.endpoint_id
        try:
            response = await self._client.run(endpoint_id, self._body(request, policy))
        except NotSent as error:
            return Refused("provider_unreachable", str(error), retryable=True)
        return run_outcome(response, endpoint_id)

    async def _earlier_output(self, request: DispatchRequest) -> Finished | None:
        try:
            found = await self._outputs.find(request.owner_id, request.generation_id)
        except TransientError:  # not a reason to fail the attempt
            return None
        return Finished(found) if found else None

    def _body(self, request: DispatchRequest, policy: Policy) -> dict[str, object]:
        given = RunpodWorkerInput(
            prompt=request.prompt,
            seed=request.seed,
            width=request.width,
            height=request.height,
            model=request.model,
            generation_id=request.generation_id,
            attempt=request.attempt,
            object_key=_key(request),
        )
        body: dict[str, object] = {"input": given.model_dump(mode="json"), "policy": policy.document()}
        webhook = self._plan.webhook_url(request)
        return body if webhook is None else {**body, "webhook": webhook}

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        if job.provider_job_id is None:
            return await self._without_job_id(request, job)
        endpoint_id = job.endpoint_id or self._plan.endpoint_id
        response = await self._client.status(endpoint_id, job.provider_job_id)
        if response.status == 404:
            return await self._not_found(request, job)
        return await self._reported(request, job, report_of(response))

    async def _without_job_id(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        """The response of /run was lost, so only the object store can be queried."""
        found = await self._stored(request)
        if found is not None:
            return found
        if _age_s(job) < self.call_policy.in_doubt_s:
            return Running(note="unknown whether RunPod accepted the job")
        return Lost("RunPod's response was lost, and there is no image")

    async def _not_found(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        found = await self._stored(request)
        if found is not None:
            return found
        if _age_s(job) < FRESH_S:
            return Running(note="RunPod does not list the job yet")
        return Lost("RunPod has deleted the job")

    async def _reported(self, request: DispatchRequest, job: ProviderJob, report: JobReport) -> StatusOutcome:
        """The image takes precedence over RunPod's state, which stays IN_PROGRESS when a progress report arrives after
        the result, and is TIMED_OUT when the result did not arrive."""
        if report.state is JobState.IN_QUEUE:
            return await self._queued(job)
        times = report.times(job.dispatched_at, datetime.now(UTC))
        if report.state is JobState.COMPLETED:
            return timed(await self._completed(request, report.output), times)
        return timed(await self._stored(request) or without_image(job, report, report.state), times)

    async def _stored(self, request: DispatchRequest) -> Finished | None:
        """The image under the key that the worker was given. Other keys that it reports are ignored."""
        found = await self._outputs.verify(_key(request))
        return Finished((found,)) if isinstance(found, Output) else None

    async def _completed(self, request: DispatchRequest, output: object) -> StatusOutcome:
        stored = await self._stored(request)
        if stored is not None:
            return stored
        body = await asyncio.to_thread(inline_image, output)
        try:
            outputs = await self._outputs.put(request.owner_id, request.generation_id, [body]) if body else None
        except PermanentError as error:  # a fault of this installation, to be repaired while RunPod has the image
            raise TransientError(f"the image could not be stored: {error}") from error
        if not isinstance(outputs, tuple):
            if (failure := failure_of_output(output)) is not None:
                return Refused("worker_failed", failure, retryable=True)
            why = f": {outputs.reason}" if outputs else ""
            return Refused("no_image", f"the worker reported success, but there is no valid image{why}", retryable=True)
        return Finished(outputs)

    async def _queued(self, job: ProviderJob) -> StatusOutcome:
        if _age_s(job) < self._plan.heartbeat_timeout_s:
            return Running(note="queued at RunPod")
        diagnosis = await self._diagnosis(job.endpoint_id or self._plan.endpoint_id)
        if diagnosis is Diagnosis.CRASH_LOOP:
            return await self._crash_looping(job, diagnosis)
        return Running(note=diagnosis.value)

    async def _crash_looping(self, job: ProviderJob, diagnosis: Diagnosis) -> StatusOutcome:
        """Cancels the job first, as it must not run beside the next attempt. That one goes to another provider, since
        this one fails until an operator acts."""
        if await self._cancel(job) is CancelOutcome.ALREADY_ENDED:
            return Running(note="it ended before it could be canceled")
        return Refused("crash_loop", f"the provider's workers fail to start ({diagnosis.name.lower()})", True,
                       FaultDomain.CONFIGURATION)  # fmt: skip

    async def _diagnosis(self, endpoint_id: str) -> Diagnosis:
        """One query per endpoint serves all jobs in its queue for a few seconds."""
        now = self._clock()
        cached = self._health.get(endpoint_id)
        if cached is not None and cached[0] > now:
            return cached[1]
        response = await self._client.health(endpoint_id)
        workers = workers_of(response.body)  # none, when the body is not valid
        diagnosis = diagnose(workers)
        _log.info("runpod_jobs_queued", endpoint_id=endpoint_id, diagnosis=diagnosis.name.lower(), workers=str(workers))
        self._health = {name: entry for name, entry in self._health.items() if entry[0] > now}
        self._health[endpoint_id] = (now + HEALTH_CACHED_S, diagnosis)
        return diagnosis

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        """Without a job id there is nothing to cancel: the job ends by its `ttl`, and its result changes nothing."""
        return await self._cancel(job)

    async def waiting(self, model: str, most: int) -> int | None:
        """Jobs in the queue of the configured endpoint, whose workers take every model."""
        queued = queued_of((await self._client.health(self._plan.endpoint_id)).body)
        return None if queued is None else min(most, queued)

    async def _cancel(self, job: ProviderJob) -> CancelOutcome:
        if job.provider_job_id is None:
            return CancelOutcome.ALREADY_ENDED
        response = await self._client.cancel(job.endpoint_id or self._plan.endpoint_id, job.provider_job_id)
        if response.status == 404:
            return CancelOutcome.ALREADY_ENDED
        state = report_of(response).state
        return CancelOutcome.STOPPED if state is JobState.CANCELLED else CancelOutcome.ALREADY_ENDED


@asynccontextmanager
async def open_runpod(context: ProviderContext) -> AsyncIterator[RunpodProvider | None]:
    settings = context.settings
    if settings.runpod_api_key is None or settings.runpod_endpoint_id is None:
        yield None
        return
    client = RunpodClient(
        context.http,
        base_url=settings.runpod_base_url,
        key=settings.runpod_api_key.get_secret_value(),
        timeout_s=settings.runpod_call_timeout_s,
    )
    output_store = OutputStore(
        object_store=context.store, max_bytes=IMAGE_MAX_BYTES, max_pixels=settings.thumbnail_max_pixels
    )
    yield RunpodProvider(RunpodPlan.of(settings, settings.runpod_endpoint_id), client, output_store)


def _key(request: DispatchRequest) -> str:
    return media_key(request.owner_id, request.generation_id, "image/png")


def _age_s(job: ProviderJob) -> float:
    return (datetime.now(UTC) - job.dispatched_at).total_seconds()
