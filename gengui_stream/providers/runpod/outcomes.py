"""What RunPod's report on a job means for its attempt. Pure."""

from dataclasses import replace
from typing import Literal, assert_never

from gengui_stream.providers.interface import (
    Canceled,
    Finished,
    Lost,
    Moderated,
    ProviderJob,
    Refused,
    Running,
    RunTimes,
    StatusOutcome,
)
from gengui_stream.providers.runpod.responses import JobReport, JobState, failure_message, failure_of_output
from gengui_stream.providers.words import with_words, words_of


def without_image(
    job: ProviderJob,
    report: JobReport,
    state: Literal[JobState.FAILED, JobState.TIMED_OUT, JobState.CANCELLED, JobState.IN_PROGRESS, JobState.UNKNOWN],
) -> StatusOutcome:
    """What RunPod's state means for an attempt whose image is not in the object store."""
    match state:
        case JobState.FAILED:
            failure = failure_of_output(report.output) if report.error is None else None
            return Refused("worker_failed", failure or failure_message(report.error), retryable=True)
        case JobState.TIMED_OUT:
            return Refused("provider_timed_out", _timed_out(report), retryable=True)
        case JobState.CANCELLED:
            return _canceled(job)
        case JobState.IN_PROGRESS:
            return Running(alive=job.started_at is None, note=f"RunPod reports {report.raw_state}")
        case JobState.UNKNOWN:
            return Running(note=f"RunPod reports {report.raw_state}")
        case _:
            assert_never(state)


def timed(outcome: StatusOutcome, times: RunTimes | None) -> StatusOutcome:
    match outcome:
        case Finished() | Refused() | Running():
            return replace(outcome, times=times)
        case Moderated() | Lost() | Canceled():
            return outcome
        case _:
            assert_never(outcome)


def _timed_out(report: JobReport) -> str:
    sentence = "no worker of the provider took the job in time"
    if report.was_started:
        sentence = "the provider's worker exceeded the time limit, or stopped responding"
    return with_words(sentence, words_of(report.error))


def _canceled(job: ProviderJob) -> StatusOutcome:
    """A job that was canceled by another than its owner is retried."""
    if job.cancel_requested:
        return Canceled()
    return Refused("canceled_by_provider", "the job was canceled at the provider", retryable=True)
