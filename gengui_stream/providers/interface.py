"""What a provider of images is to the rest of the system. A new one is one file, and one line in `registry`.

Expected refusals are values. TransientError means that nothing is known: the same call is made again later, so
`dispatch` must bear being called again for the same attempt, as far as the provider makes that possible.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do: data, against which a request is checked before it is accepted.

    `aspect_ratios` None: any. `repeatable`: a second `dispatch` of an attempt that still runs starts nothing anew.
    """

    size_min: int
    size_max: int
    size_step: int
    aspect_ratios: tuple[str, ...] | None = None
    reference_images: bool = False
    cancel: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRequest:
    """One attempt at one generation."""

    generation_id: UUID
    owner_id: UUID
    attempt: int
    prompt: str
    seed: int
    width: int
    height: int
    model: str
    deadline: datetime | None
    correlation_id: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The provider has it. `provider_job_id`: the provider's own name for it."""

    provider_job_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will not have it; `retryable` when it might have it later."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Superseded:
    """A cancel or a later attempt was there first: nothing runs, and there is nothing to say about it."""


DispatchOutcome: TypeAlias = Dispatched | Refused | Superseded


class CancelOutcome(StrEnum):
    """STOPPED: it does not run and never will. ASKED: whoever runs it was told, and will say what became of it.
    OVER: it had ended, or a later attempt has taken its place."""

    STOPPED = "stopped"
    ASKED = "asked"
    OVER = "over"


class Provider(Protocol):
    """Whoever makes the images."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        """Hands the attempt over. Raises TransientError when it is not known whether that worked."""
        ...

    async def cancel(self, generation_id: UUID, attempt: int) -> CancelOutcome:
        """Stops the attempt, or sees to it that it never starts. Raises TransientError."""
        ...
