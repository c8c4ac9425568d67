"""`cancel` jobs: ask the provider to stop the attempt, and record the generation as canceled once nothing runs. A job
with a run of its own cancels only that: its attempt has ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, assert_never

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.jobs.attempts import Attempt, canceled, missing
from gengui_stream.jobs.context import JobContext
from gengui_stream.jobs.queue import ClaimedJob, JobQueue
from gengui_stream.providers.interface import CancelOutcome
from schemas.events import GenerationCanceled

UNKNOWN_S: Final = 0.5
"""Seconds between two looks for the id of the provider's job."""

_log = structlog.get_logger(__name__)


class Canceler:
    """Handles batches of cancel jobs. While it is unknown whether the provider has the attempt, there is nothing to
    stop yet, and the job waits. A job whose provider accepted the request is rescheduled after `grace_s`; its second
    try cancels the generation."""

    def __init__(self, queue: JobQueue, context: JobContext, *, grace_s: float) -> None:
        self._queue = queue
        self._context = context
        self._grace_s = grace_s

    async def work(self, jobs: Sequence[ClaimedJob]) -> None:
        """Raises ShutdownRequested when the process stops while a server is unavailable; the leases then end."""
        runs = {job.key for job in jobs if job.run is not None}
        loaded = await self._context.load(jobs)
        await self._cancel_runs([attempt for attempt in loaded if attempt.job.key in runs])
        attempts = [attempt for attempt in loaded if attempt.job.key not in runs]
        current = [attempt for attempt in attempts if _is_current(attempt)]
        unknown = {attempt.job.key: UNKNOWN_S for attempt in current if self._is_in_doubt(attempt)}
        await self._context.reschedule(self._queue, unknown, reset_tries=unknown.keys())
        due = [attempt for attempt in current if attempt.job.key not in unknown]
        answers = await asyncio.gather(*(self._cancel(attempt) for attempt in due))
        ended, later = self._sort(list(zip(due, answers, strict=True)))
        await self._context.append(ended)
        await self._context.reschedule(self._queue, later)
        over = [attempt.job.key for attempt in attempts if attempt.job.key not in {*later, *unknown}]
        await self._context.finish(self._queue, [*over, *missing(jobs, loaded)])

    async def _cancel_runs(self, attempts: Sequence[Attempt]) -> None:
        """Whatever became of their generations. No event follows: the attempts have ended."""
        answers = await asyncio.gather(*(self._cancel_run(attempt) for attempt in attempts))
        errors = {
            attempt.job.key: self._retry_delay(attempt.job, answer)
            for attempt, answer in zip(attempts, answers, strict=True)
            if isinstance(answer, TransientError)
        }
        await self._context.reschedule(self._queue, errors)
        over = [attempt.job.key for attempt in attempts if attempt.job.key not in errors]
        await self._context.finish(self._queue, over)

    async def _cancel_run(self, attempt: Attempt) -> CancelOutcome | TransientError:
        run, job = attempt.job.run, attempt.provider_job
        provider = self._context.providers.get(run.provider) if run is not None else None
        if run is None or provider is None or not provider.capabilities.cancel:
            return CancelOutcome.STOPPED
        named = replace(job, cancel_requested=True, provider_job_id=run.job_id, endpoint_id=run.endpoint_id)
        try:
            return await provider.cancel(attempt.request, named)
        except TransientError as error:
            return error

    def _is_in_doubt(self, attempt: Attempt) -> bool:
        """Whether the call that starts the attempt may still be in progress, so that there is no id to cancel by."""
        provider, job = self._context.providers.get(attempt.state.provider), attempt.provider_job
        if provider is None or not provider.capabilities.cancel or provider.capabilities.repeatable:
            return False
        in_doubt = timedelta(seconds=provider.call_policy.in_doubt_s)
        return job.provider_job_id is None and attempt.job.claimed_at < job.dispatched_at + in_doubt

    async def _cancel(self, attempt: Attempt) -> CancelOutcome | TransientError:
        provider = self._context.providers.get(attempt.state.provider)
        if provider is None or not provider.capabilities.cancel:
            return CancelOutcome.STOPPED  # cannot be stopped: a late result is kept and ignored
        try:
            return await provider.cancel(attempt.request, attempt.provider_job)
        except TransientError as error:
            return error

    def _sort(
        self, answered: Sequence[tuple[Attempt, CancelOutcome | TransientError]]
    ) -> tuple[list[GenerationCanceled], dict[str, float]]:
        """The events of the generations that can end now, and the delays in seconds of the other jobs, by key."""
        ended: list[GenerationCanceled] = []
        later: dict[str, float] = {}
        for attempt, answer in answered:
            delay = self._delay(attempt.job, answer)
            if delay is None:
                ended.append(canceled(attempt, self._context.clock()))
            else:
                later[attempt.job.key] = delay
        return ended, later

    def _delay(self, job: ClaimedJob, answer: CancelOutcome | TransientError) -> float | None:
        match answer:
            case CancelOutcome.STOPPED:
                return None
            case CancelOutcome.REQUESTED | CancelOutcome.ALREADY_ENDED:
                return self._grace_s if job.tries == 1 else None
            case TransientError():
                return self._retry_delay(job, answer)
            case _:
                assert_never(answer)

    def _retry_delay(self, job: ClaimedJob, error: TransientError) -> float:
        _log.warning("not_canceled", job_key=job.key, tries=job.tries, error=str(error))
        return backoff_seconds(job.tries, ceiling=15.0)


def _is_current(attempt: Attempt) -> bool:
    return not attempt.state.terminal and attempt.state.attempt == attempt.job.attempt
