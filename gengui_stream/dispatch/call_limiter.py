"""Calls a provider for one attempt: limits concurrent calls, and retries while the provider lacks capacity."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import structlog

from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.metrics import Metrics
from gengui_stream.process.lifecycle import pause
from gengui_stream.providers.interface import DispatchOutcome, DispatchRequest, FaultDomain, Provider, Refused

TRIES_MAX: Final = 4
LONGEST_WAIT_S: Final = 60.0
"""A provider that asks for a longer pause has refused the attempt."""

LOOK_S: Final = 1.0
"""Seconds between two looks for a cancellation while an attempt waits."""

UNKNOWN_PROVIDER_SLOTS: Final = 32
"""Attempts of a provider that does not exist, each of which is refused at once."""

Begins: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited before the first call to a synchronous provider."""

Repeats: TypeAlias = Callable[[Refused], Awaitable[bool]]
"""Whether to wait and call the same provider again, which lacks the capacity now."""

Withdrawn: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether the attempt must not be called again, since its generation was canceled or has ended."""

Answer: TypeAlias = DispatchOutcome | TransientError

_log = structlog.get_logger(__name__)


class CallLimiter:
    """The slots of each provider in this process: one for each attempt from its claim to the end of its call."""

    def __init__(self, providers: Mapping[str, Provider], metrics: Metrics, stop: asyncio.Event) -> None:
        self._providers = providers
        self._metrics = metrics
        self._stop = stop
        self._reserved = Counter[str]()

    def free(self, name: str) -> int:
        """The number of attempts that can be claimed now. Without this limit, jobs for a slow provider queue inside
        this process, where no other dispatcher can claim them."""
        provider = self._providers.get(name)
        slots = UNKNOWN_PROVIDER_SLOTS if provider is None else provider.call_policy.max_concurrency
        return max(0, slots - self._reserved[name])

    def in_progress(self, name: str) -> int:
        """The number of attempts that have a slot of the provider."""
        return self._reserved[name]

    def try_acquire(self, name: str) -> bool:
        """Reserves a slot until `release`; False when the provider has none."""
        if not self.free(name):
            return False
        self._reserved[name] += 1
        return True

    def release(self, name: str) -> None:
        self._reserved[name] -= 1

    async def dispatch(
        self, name: str, request: DispatchRequest, begins: Begins, repeats: Repeats, withdrawn: Withdrawn
    ) -> Answer:
        """The provider's last outcome; a TransientError, returned as a value, when the outcome is unknown. The caller
        holds a slot of the provider."""
        provider = self._providers.get(name)
        if provider is None:
            return Refused(
                "unknown_provider", f"there is no provider {name!r}", retryable=False, fault_domain=FaultDomain.REQUEST
            )
        failures = 0
        while True:
            answer = await self._once(provider, request, begins if failures == 0 else _nothing)
            failures += 1
            if not isinstance(answer, Refused) or not _is_too_much(answer) or not await repeats(answer):
                return answer
            if failures >= TRIES_MAX or not await self._waited(request, answer, failures, withdrawn):
                return answer

    async def _once(self, provider: Provider, request: DispatchRequest, begins: Begins) -> Answer:
        if provider.call_policy.synchronous:
            await begins()
        began = time.perf_counter()
        try:
            answer: Answer = await provider.dispatch(request)
        except TransientError as error:
            answer = error
        self._observe(provider.name, request, answer, time.perf_counter() - began)
        return answer

    def _observe(self, provider: str, request: DispatchRequest, answer: Answer, seconds: float) -> None:
        self._metrics.dispatched.labels(provider, type(answer).__name__.lower()).inc()
        self._metrics.provider_seconds.labels(provider).observe(seconds)
        if isinstance(answer, Refused | TransientError):
            ids = {"generation_id": str(request.generation_id), "attempt": request.attempt}
            _log.warning("not_dispatched", provider=provider, **ids, answer=repr(answer))

    async def _waited(self, request: DispatchRequest, refusal: Refused, failures: int, withdrawn: Withdrawn) -> bool:
        """Waits before the next call; False when the deadline, LONGEST_WAIT_S, a stop or a cancellation rules out
        another call."""
        seconds = max(refusal.retry_after_s or 0.0, backoff_seconds(failures, salt=request.generation_id.int, base=0.5))
        if seconds > LONGEST_WAIT_S or (request.deadline and time.time() + seconds >= request.deadline.timestamp()):
            return False
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if await pause(self._stop, min(left, LOOK_S)) or await withdrawn():
                return False
        return True


async def _nothing() -> None:
    """The start has been recorded before the first call."""


def _is_too_much(refusal: Refused) -> bool:
    return refusal.retryable and refusal.fault_domain is FaultDomain.CAPACITY
