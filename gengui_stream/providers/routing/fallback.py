"""The provider for an attempt: the first in order that supports the request and is permitted a call."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gengui_stream.providers.interface import Capabilities
from gengui_stream.providers.routing.circuit_breaker import Permit, Rejected
from gengui_stream.providers.routing.decision import Route, RoutingDecision, Unavailable

REASON_MAX: Final = 1_000

Acquire: TypeAlias = Callable[[str, str], Permit | Rejected | None]
"""Asks the circuit breaker of a provider and model for a permit; None where no breaker guards them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider, and its own name for the requested model."""

    model: str
    capabilities: Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What the request asks of a provider. `aspect_ratio` None: none was requested."""

    width: int
    height: int
    aspect_ratio: str | None = None
    reference_images: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """`order`: the preferred provider, then the fallbacks. `tried`: providers that had the generation before, and how
    their attempts ended: they are passed over."""

    order: tuple[str, ...]
    requirements: Requirements
    tried: Mapping[str, str] = field(default_factory=dict)


def select(selection: Selection, candidates: Mapping[str, Candidate], acquire: Acquire) -> RoutingDecision:
    """Asks breakers in order until one grants a permit, so that there is at most one permit to return."""
    reasons: list[str] = []
    retry_at: list[float] = []
    for name in dict.fromkeys(selection.order):
        candidate = candidates.get(name)
        obstacle = _obstacle(name, candidate, selection)
        if candidate is not None and obstacle is None:
            permit = acquire(name, candidate.model)
            if not isinstance(permit, Rejected):
                return Route(name, candidate.model, _joined(reasons) or None, permit)
            obstacle = permit.reason
            if not permit.misconfigured:
                retry_at.append(permit.retry_at)
        reasons.append(f"{name}: {obstacle}")
    return Unavailable(_joined(reasons) or "no provider is named", min(retry_at, default=None))


def _obstacle(name: str, candidate: Candidate | None, selection: Selection) -> str | None:
    if candidate is None:
        return "there is no such provider"
    if name in selection.tried:
        return f"tried before: {selection.tried[name]}"
    return unmet(candidate.capabilities, selection.requirements)


def unmet(capabilities: Capabilities, required: Requirements) -> str | None:
    """The first requirement that the provider does not meet, as what it supports; None when it meets them all."""
    sizes = (required.width, required.height)
    if any(
        not capabilities.size_min <= size <= capabilities.size_max or size % capabilities.size_step for size in sizes
    ):
        return f"makes {capabilities.size_min} to {capabilities.size_max} pixels in steps of {capabilities.size_step}"
    ratios = capabilities.aspect_ratios
    if ratios is not None and required.aspect_ratio is not None and required.aspect_ratio not in ratios:
        return f"makes aspect ratios {', '.join(ratios)}"
    if required.reference_images and not capabilities.reference_images:
        return "takes no reference images"
    return None


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(reasons)[:REASON_MAX]
