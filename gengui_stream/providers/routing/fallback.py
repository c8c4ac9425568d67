"""Which provider gets an attempt when the one that was chosen cannot: the next in order that is well and can do it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gengui_stream.providers.interface import Capabilities
from gengui_stream.providers.routing.circuit_breaker import Pass, Shut

REASON_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider, and its own name for the model that was asked for."""

    model: str
    capabilities: Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What the provider must be able to do. `aspect_ratio` None: none was asked for."""

    width: int
    height: int
    aspect_ratio: str | None = None
    reference_images: bool = False


@dataclass(frozen=True, slots=True)
class Selected:
    """`leave` must come back to the circuit. `reason`: why it is not the one that was chosen; None when it is."""

    provider: str
    model: str
    leave: Pass
    reason: str | None


@dataclass(frozen=True, slots=True)
class NobodyAble:
    """`retry_at`: when the first circuit may let a call pass; None when waiting helps nobody: nobody could do it, or
    whoever could waits for people to mend it."""

    reason: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class Choosing:
    """`order`: the chosen provider, then those to fall back on. `tried`: who had the generation already, and what came
    of it: they are passed over."""

    order: tuple[str, ...]
    need: Need
    tried: Mapping[str, str] = field(default_factory=dict)


def select(
    choosing: Choosing, candidates: Mapping[str, Candidate], ask: Callable[[str, str], Pass | Shut]
) -> Selected | NobodyAble:
    """Asks circuits for leave, in order, until one gives it: the only leave there is to give back."""
    reasons: list[str] = []
    retry_at: list[float] = []
    for name in dict.fromkeys(choosing.order):
        candidate = candidates.get(name)
        why_not = _why_not(name, candidate, choosing)
        if candidate is not None and why_not is None:
            answer = ask(name, candidate.model)
            if isinstance(answer, Pass):
                return Selected(name, candidate.model, answer, _joined(reasons) if reasons else None)
            why_not = answer.why
            if not answer.misconfigured:
                retry_at.append(answer.retry_at)
        reasons.append(f"{name}: {why_not}")
    return NobodyAble(_joined(reasons) or "no provider is named", min(retry_at, default=None))


def _why_not(name: str, candidate: Candidate | None, choosing: Choosing) -> str | None:
    if candidate is None:
        return "there is no such provider"
    if name in choosing.tried:
        return f"tried before: {choosing.tried[name]}"
    return lacks(candidate.capabilities, choosing.need)


def lacks(can: Capabilities, need: Need) -> str | None:
    """What the provider cannot do of what is needed, and what it could; None when it can do it all."""
    sizes = (need.width, need.height)
    if any(not can.size_min <= size <= can.size_max or size % can.size_step for size in sizes):
        return f"makes {can.size_min} to {can.size_max} pixels in steps of {can.size_step}"
    if can.aspect_ratios is not None and need.aspect_ratio is not None and need.aspect_ratio not in can.aspect_ratios:
        return f"makes aspect ratios {', '.join(can.aspect_ratios)}"
    if need.reference_images and not can.reference_images:
        return "takes no reference images"
    return None


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(reasons)[:REASON_MAX]
