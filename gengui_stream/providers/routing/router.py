"""Which provider gets an attempt: the one that was wished for, or the next on the list that is well and can do it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import (
    Blame,
    Dispatched,
    DispatchOutcome,
    DispatchRequest,
    Finished,
    Moderated,
    Provider,
    Refused,
    Superseded,
)
from gengui_stream.providers.routing.circuit_breaker import Circuits, Outcome, Pass, Shut
from gengui_stream.providers.routing.fallback import Candidate, Choosing, Need, NobodyAble, Selected, select

LONGEST_PAUSE_S: Final = 5.0
"""A circuit may close at any time: a probe is out, and its answer may come at once."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`firm`: the client named the provider itself, and gets no other."""

    provider: str
    firm: bool


@dataclass(frozen=True, slots=True)
class Route:
    """`reason` says why it is not what was wished for; None when it is. `model` is the provider's own name for it.
    `leave`: the circuit's, which wants to hear what came of the call; None where no circuit was asked."""

    provider: str
    model: str
    reason: str | None = None
    leave: Pass | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Nobody who can do it is well."""

    retry_in_s: float
    reason: str


Routing: TypeAlias = Route | Closed


class Router:
    """Chooses by the circuits of this process, and tells them what came of each call."""

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

    def route(self, wish: Wish, request: DispatchRequest) -> Routing:
        """Every Route with a `leave` must come back by `told`."""
        order = (wish.provider,) if wish.firm else (wish.provider, *self._fallbacks)
        candidates = {
            name: Candidate(provider.model_for(request.model), provider.capabilities)
            for name, provider in self._providers.items()
            if name in order
        }
        chosen = select(Choosing(order, Need(width=request.width, height=request.height)), candidates, self._ask)
        match chosen:
            case Selected(provider, model, leave, reason):
                return Route(provider, model, reason, leave)
            case NobodyAble(reason, None):  # waiting helps nobody: the call itself is refused
                asked = candidates.get(wish.provider)
                return Route(wish.provider, asked.model if asked else request.model, reason)
            case NobodyAble(reason, retry_at):
                return Closed(min(max(0.1, (retry_at or 0.0) - self._clock()), LONGEST_PAUSE_S), reason)
            case _:
                assert_never(chosen)

    def _ask(self, provider: str, model: str) -> Pass | Shut:
        """A queue of our own has no circuit: while its server is away, calls wait for it by themselves."""
        if self._providers[provider].capabilities.repeatable:
            return Pass(provider, model, epoch=-1, probe=False)
        return self._circuits.ask(provider, model, self._clock())

    def told(self, route: Route, answer: DispatchOutcome | TransientError) -> None:
        if route.leave is None or route.leave.epoch < 0:
            return
        if route.leave.probe and isinstance(answer, Dispatched) and self._is_observable(route.provider):
            return  # that it was taken proves little: the circuit hears what becomes of it
        outcome, why = _judged(answer)
        self._circuits.record(route.leave, outcome, self._clock(), why=why)

    def heard(self, provider: str, model: str, end: Finished | Refused) -> None:
        """How an attempt ended that had been handed over: the circuit may have thought better of it."""
        if provider in self._providers and self._is_observable(provider):
            outcome, why = _judged(end)
            self._circuits.hear(provider, model, outcome, self._clock(), why=why)

    def _is_observable(self, provider: str) -> bool:
        return self._providers[provider].capabilities.observable


def _judged(answer: DispatchOutcome | TransientError) -> tuple[Outcome, str]:
    match answer:
        case Dispatched() | Finished() | Moderated():
            return Outcome.SUCCEEDED, ""
        case Superseded():
            return Outcome.NEUTRAL, ""
        case TransientError():
            return Outcome.FAILED, str(answer)
        case Refused(code, message):
            return _blamed(answer.blame), f"{code}: {message}"
        case _:
            assert_never(answer)


def _blamed(blame: Blame) -> Outcome:
    match blame:
        case Blame.REQUEST:
            return Outcome.NEUTRAL
        case Blame.CONFIGURATION:
            return Outcome.MISCONFIGURED
        case Blame.CAPACITY | Blame.PROVIDER:
            return Outcome.FAILED
        case _:
            assert_never(blame)
