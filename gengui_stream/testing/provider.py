"""A provider in memory, whose answers and runs a test decides."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    CallPolicy,
    Canceled,
    CancelOutcome,
    Capabilities,
    Dispatched,
    DispatchOutcome,
    DispatchRequest,
    Lost,
    ProviderJob,
    Running,
    StatusOutcome,
    Superseded,
)
from gengui_stream.testing.clock import Clock
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP

ENDPOINT: Final = "in-memory"


@dataclass(frozen=True, slots=True)
class ResponseLost:
    """The provider accepts the attempt, and its response does not arrive."""


NextAnswer: TypeAlias = DispatchOutcome | TransientError | ResponseLost


@dataclass(slots=True)
class ProviderRun:
    """One accepted attempt. `status`: its state at the provider. `started`: a worker has it. `asked_to_stop`: so was
    the worker."""

    request: DispatchRequest
    job_id: str
    status: StatusOutcome = field(default_factory=Running)
    started: bool = False
    asked_to_stop: bool = False

    @property
    def ended(self) -> bool:
        return not isinstance(self.status, Running)


class InMemoryProvider:
    """Accepts each attempt, unless `next_answers` has an answer for the call.

    With `repeatable`, it keeps to the contract of a queue of our own: a repeated `dispatch` starts no second run, a
    cancellation also prevents a later `dispatch`, and a started run is asked to stop. Otherwise to that of a service
    with job ids: each call starts a run, and a cancellation needs the id, and stops the run.

    `calls` and `cancels`: what was called, in order. `during_dispatch` and `during_status` are awaited in each call
    before its answer. While `available` is False, every call raises TransientError.
    """

    def __init__(
        self,
        name: str = "in-memory",
        clock: Clock | None = None,
        *,
        repeatable: bool = False,
        cancel: bool = True,
        policy: CallPolicy | None = None,
    ) -> None:
        self.name: Final = name
        self._clock = clock or Clock()
        self.capabilities: Final = Capabilities(
            size_min=SIZE_MIN,
            size_max=SIZE_MAX,
            size_step=SIZE_STEP,
            cancel=cancel,
            repeatable=repeatable,
            observable=not repeatable,
        )
        self.call_policy: Final = policy or CallPolicy()
        self._in_doubt = timedelta(seconds=self.call_policy.in_doubt_s)
        self.available = True
        self.next_answers: deque[NextAnswer] = deque()
        self.during_dispatch: Callable[[DispatchRequest], Awaitable[None]] | None = None
        self.during_status: Callable[[DispatchRequest], Awaitable[None]] | None = None
        self.calls: list[DispatchRequest] = []
        self.cancels: list[ProviderJob] = []
        self.runs: list[ProviderRun] = []

    def model_for(self, requested: str) -> str:
        return requested

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        self._check_available()
        self.calls.append(request)
        if self.during_dispatch is not None:
            await self.during_dispatch(request)
        answer = self.next_answers.popleft() if self.next_answers else None
        match answer:
            case None:
                return self._accept(request)
            case ResponseLost():
                self._accept(request)
                raise TransientError("the response was lost")
            case TransientError():
                raise answer
            case _:
                return answer

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        self._check_available()
        if self.during_status is not None:
            await self.during_status(request)
        run = self._find(request, job)
        if run is not None:
            return run.status
        if self.capabilities.repeatable:
            self._accept(request)
            return Running(note="queued again")
        if job.provider_job_id is None and self._clock.now() < job.dispatched_at + self._in_doubt:
            return Running(note="unknown whether the attempt was accepted")
        return Lost("there is no such job")

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        self._check_available()
        self.cancels.append(job)
        run = self._find(request, job)
        if self.capabilities.repeatable:
            run = None if self._has_later(request) else run or self._add(request)
        if run is None or (run.ended and not isinstance(run.status, Canceled)):
            return CancelOutcome.ALREADY_ENDED
        return self._stop(run)

    async def waiting(self, model: str, most: int) -> int | None:
        self._check_available()
        return min(most, sum(not run.started and not run.ended and run.request.model == model for run in self.runs))

    def run_of(self, request: DispatchRequest) -> ProviderRun:
        """The last run of the attempt."""
        return next(run for run in reversed(self.runs) if _attempt(run.request) == _attempt(request))

    def _stop(self, run: ProviderRun) -> CancelOutcome:
        run.status = Canceled()
        run.asked_to_stop = run.asked_to_stop or (run.started and self.capabilities.repeatable)
        return CancelOutcome.REQUESTED if run.asked_to_stop else CancelOutcome.STOPPED

    def _accept(self, request: DispatchRequest) -> DispatchOutcome:
        if not self.capabilities.repeatable:
            return Dispatched(self._add(request).job_id, ENDPOINT)
        known = self._find(request, None)
        if self._has_later(request) or (known is not None and isinstance(known.status, Canceled)):
            return Superseded()
        return Dispatched((known or self._add(request)).job_id)

    def _add(self, request: DispatchRequest) -> ProviderRun:
        run = ProviderRun(request, f"job-{len(self.runs) + 1}")
        self.runs.append(run)
        return run

    def _has_later(self, request: DispatchRequest) -> bool:
        same = [run.request for run in self.runs if run.request.generation_id == request.generation_id]
        return any(other.attempt > request.attempt for other in same)

    def _find(self, request: DispatchRequest, job: ProviderJob | None) -> ProviderRun | None:
        """By the attempt where the provider is repeatable, by the job id otherwise."""
        if self.capabilities.repeatable:
            return next((run for run in self.runs if _attempt(run.request) == _attempt(request)), None)
        wanted = job.provider_job_id if job is not None else None
        return next((run for run in self.runs if run.job_id == wanted), None)

    def _check_available(self) -> None:
        if not self.available:
            raise TransientError(f"{self.name} is unavailable")


def _attempt(request: DispatchRequest) -> tuple[object, int]:
    return request.generation_id, request.attempt
