"""The contract of a provider whose call does the work: it has no job ids, and its call returns the result."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, TypeAlias

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    DispatchRequest,
    FaultDomain,
    Finished,
    Lost,
    Moderated,
    Provider,
    ProviderJob,
    Refused,
    Running,
)
from tests.dispatches import a_dispatch

Answer: TypeAlias = Literal["image", "prompt_refused", "busy", "key_refused", "lost"]

PAUSE_S: Final = 7.0
"""What the provider asks for when it is busy."""


class SynchronousSubject(Protocol):
    """The provider under test, and the other side of it."""

    @property
    def provider(self) -> Provider: ...

    def next_call(self, answer: Answer) -> None:
        """What becomes of the next call."""
        ...


class SynchronousContract:
    """`unavailable`: the provider cannot be reached."""

    model: str

    @pytest.fixture
    def request_(self) -> DispatchRequest:
        return a_dispatch(model=self.model, width=1344, height=768)

    async def test_a_call_returns_its_result(self, subject: SynchronousSubject, request_: DispatchRequest) -> None:
        assert subject.provider.call_policy.synchronous
        assert not subject.provider.capabilities.repeatable
        assert not subject.provider.capabilities.cancel
        subject.next_call("image")
        answer = await subject.provider.dispatch(request_)
        assert isinstance(answer, Finished)
        assert len(answer.outputs) == 1

    async def test_a_refused_prompt_is_final(self, subject: SynchronousSubject, request_: DispatchRequest) -> None:
        subject.next_call("prompt_refused")
        assert isinstance(await subject.provider.dispatch(request_), Moderated)

    async def test_a_busy_provider_names_the_pause_that_it_asks_for(
        self, subject: SynchronousSubject, request_: DispatchRequest
    ) -> None:
        subject.next_call("busy")
        answer = await subject.provider.dispatch(request_)
        assert isinstance(answer, Refused)
        assert (answer.retryable, answer.fault_domain) == (True, FaultDomain.CAPACITY)
        assert answer.retry_after_s == PAUSE_S

    async def test_a_refused_key_is_a_fault_of_the_configuration(
        self, subject: SynchronousSubject, request_: DispatchRequest
    ) -> None:
        """Another provider may take the next attempt, so that it is retryable."""
        subject.next_call("key_refused")
        answer = await subject.provider.dispatch(request_)
        assert isinstance(answer, Refused)
        assert (answer.retryable, answer.fault_domain) == (True, FaultDomain.CONFIGURATION)

    async def test_a_lost_call_may_run_until_it_is_no_longer_in_doubt(
        self, subject: SynchronousSubject, request_: DispatchRequest
    ) -> None:
        subject.next_call("lost")
        with pytest.raises(TransientError):
            await subject.provider.dispatch(request_)
        job = ProviderJob(dispatched_at=datetime.now(UTC))
        assert isinstance(await subject.provider.get_status(request_, job), Running)
        job = replace(job, dispatched_at=job.dispatched_at - timedelta(hours=1))
        assert isinstance(await subject.provider.get_status(request_, job), Lost)

    async def test_an_unavailable_provider_may_be_available_later(
        self, unavailable: Provider, request_: DispatchRequest
    ) -> None:
        try:
            answer = await unavailable.dispatch(request_)
        except TransientError:
            return
        assert isinstance(answer, Refused)
        assert answer.retryable
