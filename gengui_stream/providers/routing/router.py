"""Routes each attempt to the preferred provider, or to the first available fallback that supports the request."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, assert_never

from gengui_stream.domain.generation.state import ProviderPreference
from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    Dispatched,
    DispatchOutcome,
    DispatchRequest,
    FaultDomain,
    Finished,
    Moderated,
    Provider,
    Refused,
    Superseded,
)
from gengui_stream.providers.routing.circuit_breaker import REASON_MAX, Circuits, Outcome, Permit, Rejected
from gengui_stream.providers.routing.decision import Opening, ProviderPause, Route, RoutingDecision, Unavailable
from gengui_stream.providers.routing.fallback import Candidate, Requirements, Selection, select, unmet

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 5.0
"""A circuit may close at any time: the outcome of a probe that is in progress may arrive at once."""


class Router:
    """Chooses by the circuit breakers of this process, and records the outcome of each call in them."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        fallbacks: Sequence[str],
        circuits: Circuits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = providers
        self._fallbacks = tuple(fallbacks)
        self._circuits = circuits
        self._clock = clock

    def opening(self, preference: ProviderPreference) -> Opening | None:
        """The provider that would take attempts of this queue now, and how many; None while none would. Reserves
        nothing. Where waiting does not help, the preferred provider, whose refusal ends the attempts."""
        misconfigured = True
        for name in self._order(preference):
            provider = self._providers.get(name)
            if provider is None:
                continue
            calls = self._permitted(provider, preference)
            if calls != 0:
                return Opening(name, calls)
            model = provider.model_for(preference.model)
            misconfigured = misconfigured and self._circuits.is_misconfigured(name, model, self._clock())
        return Opening(preference.provider, None) if misconfigured else None

    def _order(self, preference: ProviderPreference) -> tuple[str, ...]:
        wanted = preference.provider
        return (wanted,) if preference.pinned else tuple(dict.fromkeys((wanted, *self._fallbacks)))

    def route(self, preference: ProviderPreference, request: DispatchRequest) -> RoutingDecision:
        """Every Route must be returned, by `record` once the call has an outcome, or by `release` without a call.

        Where waiting does not help, the preferred provider all the same: its refusal ends the attempt."""
        wanted = preference.provider
        order = self._order(preference)
        candidates = {
            name: Candidate(provider.model_for(request.model), provider.capabilities)
            for name, provider in self._providers.items()
            if name in order
        }
        required = Requirements(width=request.width, height=request.height)
        decision = select(Selection(order, required), candidates, self._acquire)
        if isinstance(decision, Unavailable) and decision.retry_at is None:
            model = candidates[wanted].model if wanted in candidates else request.model
            return Route(wanted, model, decision.reason)
        return decision

    def retry_delay_s(self, decision: Unavailable) -> float:
        """After how many seconds to route the attempt again."""
        return min(max(RETRY_MIN_S, (decision.retry_at or 0.0) - self._clock()), RETRY_MAX_S)

    def _acquire(self, provider: str, model: str) -> Permit | Rejected | None:
        """A queue of our own has no breaker: while its server is unavailable, calls wait for it."""
        if self._providers[provider].capabilities.repeatable:
            return None
        return self._circuits.acquire(provider, model, self._clock())

    def release(self, route: Route) -> None:
        """Returns the permit of a call that was not made."""
        if route.permit is not None:
            self._circuits.release(route.permit, self._clock())

    def record(self, route: Route, answer: DispatchOutcome | TransientError) -> None:
        """Returns the permit with the outcome of the call. That a provider with status queries accepted a probe proves
        little: the breaker waits for `record_late`."""
        if route.permit is None:
            return
        if route.permit.probe and isinstance(answer, Dispatched) and self._is_observable(route.provider):
            return
        outcome, reason = _outcome_of(answer)
        self._circuits.record(route.permit, outcome, self._clock(), reason=reason)
        if isinstance(answer, Refused):
            self.hold(route, answer)

    def hold(self, route: Route, refusal: Refused) -> ProviderPause | None:
        """Keeps every call from the provider for as long as the refusal asks; also while its own call waits to be
        repeated. Returns the pause, of which the other processes do not know yet."""
        if route.permit is None or refusal.fault_domain is not FaultDomain.CAPACITY or not refusal.retry_after_s:
            return None
        _, reason = _outcome_of(refusal)
        pause = ProviderPause(route.provider, route.model, refusal.retry_after_s, reason[:REASON_MAX])
        self.keep(pause)
        return pause

    def keep(self, pause: ProviderPause) -> None:
        """Keeps to a pause that this or another process was asked for."""
        self._circuits.hold(pause.provider, pause.model, pause.seconds, self._clock(), reason=pause.reason)

    def has_alternative(self, preference: ProviderPreference, request: DispatchRequest, provider: str) -> bool:
        """Whether another provider would take the attempt now. Reserves nothing."""
        required = Requirements(width=request.width, height=request.height)
        others = (self._providers.get(name) for name in self._order(preference) if name != provider)
        return any(
            other is not None
            and unmet(other.capabilities, required) is None
            and self._permitted(other, preference) != 0
            for other in others
        )

    def _permitted(self, provider: Provider, preference: ProviderPreference) -> int | None:
        """The number of calls that the provider's circuit permits now; None: any number."""
        if provider.capabilities.repeatable:
            return None
        return self._circuits.permitted(provider.name, provider.model_for(preference.model), self._clock())

    def record_late(self, provider: str, model: str, end: Finished | Refused) -> None:
        """How an accepted attempt ended, which may correct what was recorded when it was accepted."""
        if provider in self._providers and self._is_observable(provider):
            outcome, reason = _outcome_of(end)
            self._circuits.record_late(provider, model, outcome, self._clock(), reason=reason)

    def _is_observable(self, provider: str) -> bool:
        return self._providers[provider].capabilities.observable


def _outcome_of(answer: DispatchOutcome | TransientError) -> tuple[Outcome, str]:
    match answer:
        case Dispatched() | Finished() | Moderated():
            return Outcome.SUCCEEDED, ""
        case Superseded():
            return Outcome.NEUTRAL, ""
        case TransientError():
            return Outcome.FAILED, str(answer)
        case Refused(code, message):
            return _outcome_of_fault(answer.fault_domain), f"{code}: {message}"
        case _:
            assert_never(answer)


def _outcome_of_fault(fault_domain: FaultDomain) -> Outcome:
    match fault_domain:
        case FaultDomain.REQUEST:
            return Outcome.NEUTRAL
        case FaultDomain.CONFIGURATION:
            return Outcome.MISCONFIGURED
        case FaultDomain.CAPACITY | FaultDomain.PROVIDER:
            return Outcome.FAILED
        case _:
            assert_never(fault_domain)
