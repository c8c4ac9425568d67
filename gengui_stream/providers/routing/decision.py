"""Where an attempt goes: one result for the circuit breakers, the fallback order and the router."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gengui_stream.providers.routing.circuit_breaker import Permit


@dataclass(frozen=True, slots=True)
class Route:
    """`model`: the provider's own name for it. `reason`: why it is not the preferred provider; None when it is.

    `permit`: the circuit breaker's, to be returned with the outcome of the call; None where no breaker guards it."""

    provider: str
    model: str
    reason: str | None = None
    permit: Permit | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """`provider` takes attempts, at most `calls` of them now; None: any number."""

    provider: str
    calls: int | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No provider can take the attempt now. `retry_at`: seconds of the breakers' clock at which one may; None when
    waiting does not help, because no provider supports the request or each is misconfigured."""

    reason: str
    retry_at: float | None


class ProviderPause(NamedTuple):
    """No calls, because the provider asks for it. `seconds`: from now on. `reason`: for operators."""

    provider: str
    model: str
    seconds: float
    reason: str


RoutingDecision: TypeAlias = Route | Unavailable
