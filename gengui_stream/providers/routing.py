"""Which provider gets an attempt: the one that was wished for, or the next on the list that is well and can do it."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gengui_stream.providers.interface import DispatchRequest, Providers


@dataclass(frozen=True, slots=True)
class Wish:
    """`firm`: the client named the provider itself, and gets no other."""

    provider: str
    firm: bool


@dataclass(frozen=True, slots=True)
class Route:
    """`reason` says why it is not what was wished for; None when it is. `model` is the provider's own name for it."""

    provider: str
    model: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Nobody who can do it is well."""

    retry_in_s: float
    reason: str


Routing: TypeAlias = Route | Closed


class Router(Protocol):
    def route(self, wish: Wish, request: DispatchRequest) -> Routing: ...


class StraightRouter:
    """Everybody gets what was wished for."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def route(self, wish: Wish, request: DispatchRequest) -> Routing:
        provider = self._providers.get(wish.provider)
        return Route(wish.provider, provider.model_for(request.model) if provider else request.model)
