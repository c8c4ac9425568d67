"""The contract of a provider: what every one keeps, then what a repeatable one keeps, then one with job ids."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    Canceled,
    CancelOutcome,
    Dispatched,
    DispatchRequest,
    Finished,
    Lost,
    Provider,
    ProviderJob,
    Refused,
    Running,
    Superseded,
)
from tests.dispatches import a_dispatch

LONG_AGO = timedelta(hours=1)


class Subject(Protocol):
    """The provider under test, and the other side of it. A run lasts until `finish`."""

    @property
    def provider(self) -> Provider: ...

    async def start(self, request: DispatchRequest) -> None:
        """A worker takes the attempt."""
        ...

    async def finish(self, request: DispatchRequest, job: ProviderJob) -> None:
        """The attempt completes with one image."""
        ...


async def begun(provider: Provider, request: DispatchRequest) -> ProviderJob:
    """The accepted attempt, whose cancellation was requested."""
    answer = await provider.dispatch(request)
    assert isinstance(answer, Dispatched), answer
    return a_job(answer)


def a_job(answer: Dispatched | None) -> ProviderJob:
    return ProviderJob(
        dispatched_at=datetime.now(UTC),
        cancel_requested=True,
        provider_job_id=answer.provider_job_id if answer else None,
        endpoint_id=answer.endpoint_id if answer else None,
    )


class ProviderContract:
    """`subject`: its runs last. `finishing`: its runs complete at `finish`. `unavailable`: it cannot be reached."""

    async def test_an_accepted_attempt_runs_until_it_ends(self, subject: Subject) -> None:
        request = a_dispatch()
        job = await begun(subject.provider, request)
        for _ in range(2):
            assert isinstance(await subject.provider.get_status(request, job), Running)

    async def test_a_finished_attempt_has_its_outputs_and_cannot_be_canceled(self, finishing: Subject) -> None:
        request = a_dispatch()
        job = await begun(finishing.provider, request)
        await finishing.finish(request, job)
        found = await finishing.provider.get_status(request, job)
        assert isinstance(found, Finished)
        assert len(found.outputs) == 1
        assert await finishing.provider.cancel(request, job) is CancelOutcome.ALREADY_ENDED
        assert isinstance(await finishing.provider.get_status(request, job), Finished)

    async def test_a_canceled_attempt_does_not_run(self, subject: Subject) -> None:
        request = a_dispatch()
        job = await begun(subject.provider, request)
        for _ in range(2):
            assert await subject.provider.cancel(request, job) is CancelOutcome.STOPPED
        assert isinstance(await subject.provider.get_status(request, job), Canceled)

    async def test_attempts_do_not_affect_each_other(self, subject: Subject) -> None:
        one, other = a_dispatch(), a_dispatch()
        first, second = await begun(subject.provider, one), await begun(subject.provider, other)
        await subject.provider.cancel(one, first)
        assert isinstance(await subject.provider.get_status(other, second), Running)

    async def test_an_unavailable_provider_may_be_available_later(self, unavailable: Provider) -> None:
        request = a_dispatch()
        job = a_job(Dispatched("job-1", "e1"))
        with pytest.raises(TransientError):
            await unavailable.get_status(request, job)
        with pytest.raises(TransientError):
            await unavailable.cancel(request, job)
        try:
            answer = await unavailable.dispatch(request)
        except TransientError:
            return
        assert isinstance(answer, Refused)
        assert answer.retryable


class RepeatableContract(ProviderContract):
    """Of a provider whose `repeatable` says that a repeated call starts no second run."""

    async def test_a_repeated_call_returns_the_same_run(self, subject: Subject) -> None:
        request = a_dispatch()
        assert subject.provider.capabilities.repeatable
        assert await subject.provider.dispatch(request) == await subject.provider.dispatch(request)

    async def test_a_cancellation_that_comes_first_prevents_the_run(self, subject: Subject) -> None:
        request = a_dispatch()
        assert await subject.provider.cancel(request, a_job(None)) is CancelOutcome.STOPPED
        assert await subject.provider.dispatch(request) == Superseded()
        assert isinstance(await subject.provider.dispatch(replace(request, attempt=2)), Dispatched)

    async def test_a_canceled_attempt_is_not_started_again(self, subject: Subject) -> None:
        request = a_dispatch()
        await subject.provider.cancel(request, await begun(subject.provider, request))
        assert await subject.provider.dispatch(request) == Superseded()

    async def test_a_later_attempt_replaces_an_earlier_one(self, subject: Subject) -> None:
        request = a_dispatch()
        first = await begun(subject.provider, request)
        second = await begun(subject.provider, replace(request, attempt=2))
        assert first.provider_job_id != second.provider_job_id
        assert await subject.provider.dispatch(request) == Superseded()
        assert await subject.provider.cancel(request, first) is CancelOutcome.ALREADY_ENDED
        assert isinstance(await subject.provider.get_status(replace(request, attempt=2), second), Running)

    async def test_a_started_run_is_asked_to_stop(self, subject: Subject) -> None:
        request = a_dispatch()
        job = await begun(subject.provider, request)
        await subject.start(request)
        for _ in range(2):
            assert await subject.provider.cancel(request, job) is CancelOutcome.REQUESTED
        assert isinstance(await subject.provider.get_status(request, job), Canceled)

    async def test_an_attempt_that_the_provider_lost_is_queued_again(self, subject: Subject) -> None:
        request = a_dispatch()
        assert isinstance(await subject.provider.get_status(request, a_job(None)), Running)
        assert isinstance(await subject.provider.dispatch(request), Dispatched)


class JobIdContract(ProviderContract):
    """Of a provider that knows its runs by their job ids alone."""

    async def test_a_repeated_call_starts_another_run(self, subject: Subject) -> None:
        request = a_dispatch()
        assert not subject.provider.capabilities.repeatable
        first, second = [await begun(subject.provider, request) for _ in range(2)]
        assert first.provider_job_id != second.provider_job_id
        await subject.provider.cancel(request, first)
        assert isinstance(await subject.provider.get_status(request, second), Running)

    async def test_without_an_id_there_is_nothing_to_cancel(self, subject: Subject) -> None:
        assert await subject.provider.cancel(a_dispatch(), a_job(None)) is CancelOutcome.ALREADY_ENDED

    async def test_without_an_id_an_attempt_is_lost_once_it_is_no_longer_in_doubt(self, subject: Subject) -> None:
        job = a_job(None)
        assert isinstance(await subject.provider.get_status(a_dispatch(), job), Running)
        job = replace(job, dispatched_at=job.dispatched_at - LONG_AGO)
        assert isinstance(await subject.provider.get_status(a_dispatch(), job), Lost)

    async def test_an_unknown_job_is_lost(self, subject: Subject) -> None:
        job = replace(a_job(Dispatched("never-existed", "e1")), dispatched_at=datetime.now(UTC) - LONG_AGO)
        assert isinstance(await subject.provider.get_status(a_dispatch(), job), Lost)
        assert await subject.provider.cancel(a_dispatch(), job) is CancelOutcome.ALREADY_ENDED
