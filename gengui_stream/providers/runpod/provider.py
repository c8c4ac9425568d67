"""The provider `runpod`: jobs on a queue-based endpoint whose workers keep to `schemas.runpod_worker`.

A worker stores its image under a key that is known beforehand, so whatever becomes of the job, or of what RunPod knows
of it, the image is found. Where that is not so, RunPod's own word decides: a webhook is a hint to ask for it.

A call of /run whose answer is lost may have begun a job. Nothing else is started then until RunPod has deleted it: its
`ttl` is counted so that it ends a fixed time after the attempt was announced, however late the call is made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Literal, assert_never

import structlog

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_keys import media_key
from gengui_stream.providers.context import Surroundings
from gengui_stream.providers.interface import (
    Blame,
    CancelOutcome,
    Capabilities,
    DispatchOutcome,
    DispatchRequest,
    Finished,
    Halted,
    LookOutcome,
    Lost,
    Pace,
    ProviderJob,
    Refused,
    Running,
)
from gengui_stream.providers.output_store import Results
from gengui_stream.providers.runpod.client import NotSent, RunpodHttp
from gengui_stream.providers.runpod.health import Diagnosis, diagnose, workers_of
from gengui_stream.providers.runpod.policy import Policy, RunpodPlan
from gengui_stream.providers.runpod.responses import (
    JobReport,
    JobState,
    failure_message,
    inline_image,
    report_of,
    run_outcome,
)
from schemas.events import Output
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP
from schemas.runpod_worker import RunpodWorkerInput

FRESH_S: Final = 5.0
"""RunPod may not know a job yet that it has just taken."""

HEALTH_KEPT_S: Final = 4.0
IMAGE_MAX_BYTES: Final = 64 * 1024 * 1024


_log = structlog.get_logger(__name__)


class RunpodProvider:
    """Jobs begin at the endpoint of the settings, and are asked for where they began."""

    name: Final = "runpod"

    def __init__(
        self, plan: RunpodPlan, http: RunpodHttp, results: Results, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._http = http
        self._results = results
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
        self.pace: Final = Pace(
            calls_at_once=100,
            call_may_last_s=plan.call_may_last_s,
            silence_s=plan.silence_s,
            look_every_s=plan.look_every_s,
        )

    def model_for(self, asked: str) -> str:
        return asked if asked in self._plan.models else self._plan.default_model

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        """An image that an earlier attempt has left after all is taken as it is."""
        now = datetime.now(UTC)
        policy = self._plan.policy(request, now)
        if policy is None:
            return Refused("too_late", "the attempt was called too late", retryable=True, blame=Blame.REQUEST)
        if request.attempt > 1 and (left := await self._left_over(request)) is not None:
            return left
        endpoint_id = self._plan.endpoint_id
        try:
            answer = await self._http.run(endpoint_id, self._body(request, policy))
        except NotSent as error:
            return Refused("provider_unreachable", str(error), retryable=True)
        return run_outcome(answer, endpoint_id)

    async def _left_over(self, request: DispatchRequest) -> Finished | None:
        try:
            found = await self._results.find(request.owner_id, request.generation_id)
        except TransientError:  # not worth the attempt: nothing has been sent
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

    async def look(self, request: DispatchRequest, job: ProviderJob) -> LookOutcome:
        if job.provider_job_id is None:
            return await self._looked_for(request, job)
        endpoint_id = job.endpoint_id or self._plan.endpoint_id
        answer = await self._http.status(endpoint_id, job.provider_job_id)
        if answer.status == 404:
            return await self._unknown(request, job)
        return await self._reported(request, job, report_of(answer))

    async def _looked_for(self, request: DispatchRequest, job: ProviderJob) -> LookOutcome:
        """The answer to the call was lost: all that can be seen is the image."""
        found = await self._stored(request)
        if found is not None:
            return found
        if _age_s(job) < self.pace.call_may_last_s:
            return Running(note="whether RunPod took it is not known")
        return Lost("RunPod's answer was lost, and no image came")

    async def _unknown(self, request: DispatchRequest, job: ProviderJob) -> LookOutcome:
        found = await self._stored(request)
        if found is not None:
            return found
        if _age_s(job) < FRESH_S:
            return Running(note="RunPod does not know it yet")
        return Lost("RunPod does not know the job any more")

    async def _reported(self, request: DispatchRequest, job: ProviderJob, report: JobReport) -> LookOutcome:
        """The image is believed before RunPod, which may say IN_PROGRESS for ever when a progress report came in after
        the result, and TIMED_OUT when the result itself did not get through."""
        if report.state is JobState.COMPLETED:
            return await self._delivered(request, report.output)
        if report.state is JobState.IN_QUEUE:
            return await self._queued(job)
        return await self._stored(request) or _without_image(job, report, report.state)

    async def _stored(self, request: DispatchRequest) -> Finished | None:
        """The worker put it there. Where else it says that it did is not looked at."""
        found = await self._results.verified(_key(request))
        return Finished((found,)) if isinstance(found, Output) else None

    async def _delivered(self, request: DispatchRequest, output: object) -> LookOutcome:
        stored = await self._stored(request)
        if stored is not None:
            return stored
        body = await asyncio.to_thread(inline_image, output)
        try:
            kept = await self._results.keep(request.owner_id, request.generation_id, [body]) if body else None
        except PermanentError as error:  # ours to mend, while RunPod still has it
            raise TransientError(f"the image could not be stored: {error}") from error
        if not isinstance(kept, tuple):
            why = "the worker said that it was done, but there is no image that can be read"
            return Refused("no_image", why, retryable=True)
        return Finished(kept)

    async def _queued(self, job: ProviderJob) -> LookOutcome:
        if _age_s(job) < self._plan.silence_s:
            return Running(note="waits at RunPod")
        diagnosis = await self._diagnosis(job.endpoint_id or self._plan.endpoint_id)
        if diagnosis is Diagnosis.CRASH_LOOP:
            return await self._given_up(job, diagnosis)
        return Running(note=diagnosis.value)

    async def _given_up(self, job: ProviderJob, diagnosis: Diagnosis) -> LookOutcome:
        """Taken from the queue first: nothing may run beside the next attempt. No other one would do better here until
        people act, so the next one goes elsewhere."""
        if await self._stopped(job) is CancelOutcome.OVER:
            return Running(note="came to its end while it was given up")
        return Refused("crash_loop", f"the provider's workers fail to start ({diagnosis.name.lower()})", True,
                       Blame.CONFIGURATION)  # fmt: skip

    async def _diagnosis(self, endpoint_id: str) -> Diagnosis:
        """One question for all that wait there."""
        now = self._clock()
        known = self._health.get(endpoint_id)
        if known is not None and known[0] > now:
            return known[1]
        answer = await self._http.health(endpoint_id)
        workers = workers_of(answer.body)  # none, when that is no answer
        found = diagnose(workers)
        _log.info("runpod_jobs_wait", endpoint_id=endpoint_id, diagnosis=found.name.lower(), workers=str(workers))
        self._health = {name: kept for name, kept in self._health.items() if kept[0] > now}
        self._health[endpoint_id] = (now + HEALTH_KEPT_S, found)
        return found

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        """Without the job's id nobody can be told: it ends by its `ttl`, and what it makes changes nothing."""
        return await self._stopped(job)

    async def _stopped(self, job: ProviderJob) -> CancelOutcome:
        if job.provider_job_id is None:
            return CancelOutcome.OVER
        answer = await self._http.cancel(job.endpoint_id or self._plan.endpoint_id, job.provider_job_id)
        if answer.status == 404:
            return CancelOutcome.OVER
        state = report_of(answer).state
        return CancelOutcome.STOPPED if state is JobState.CANCELLED else CancelOutcome.OVER


@asynccontextmanager
async def open_runpod(around: Surroundings) -> AsyncIterator[RunpodProvider | None]:
    settings = around.settings
    if settings.runpod_api_key is None or settings.runpod_endpoint_id is None:
        yield None
        return
    http = RunpodHttp(
        around.http,
        base_url=settings.runpod_base_url,
        key=settings.runpod_api_key.get_secret_value(),
        timeout_s=settings.runpod_call_timeout_s,
    )
    results = Results(store=around.store, max_bytes=IMAGE_MAX_BYTES, max_pixels=settings.thumbnail_max_pixels)
    yield RunpodProvider(RunpodPlan.of(settings, settings.runpod_endpoint_id), http, results)


def _key(request: DispatchRequest) -> str:
    return media_key(request.owner_id, request.generation_id, "image/png")


def _age_s(job: ProviderJob) -> float:
    return (datetime.now(UTC) - job.dispatched_at).total_seconds()


def _without_image(
    job: ProviderJob,
    report: JobReport,
    state: Literal[JobState.FAILED, JobState.TIMED_OUT, JobState.CANCELLED, JobState.IN_PROGRESS, JobState.UNKNOWN],
) -> LookOutcome:
    match state:
        case JobState.FAILED:
            return Refused("worker_failed", failure_message(report.error), retryable=True)
        case JobState.TIMED_OUT:
            return Refused("provider_timed_out", _timed_out(report), retryable=True)
        case JobState.CANCELLED:
            return _canceled(job)
        case JobState.IN_PROGRESS:
            return Running(alive=job.started_at is None, note=f"RunPod says {report.word}")
        case JobState.UNKNOWN:
            return Running(note=f"RunPod says {report.word}")
        case _:
            assert_never(state)


def _timed_out(report: JobReport) -> str:
    if report.was_started:
        return "the provider's worker took too long, or fell silent"
    return "the provider's queue was too long: no worker took it in time"


def _canceled(job: ProviderJob) -> LookOutcome:
    """By somebody else than its owner, it is to be made all the same."""
    if job.cancel_requested:
        return Halted()
    return Refused("canceled_by_provider", "the job was canceled at the provider", retryable=True)
