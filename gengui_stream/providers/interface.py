"""What a provider of images is to the rest of the system. A new one is one folder, and one line in `registry`.

Expected refusals are values. TransientError means that nothing is known: what becomes of the attempt is found out by
`look`, or by calling `dispatch` again where the provider bears that (`repeatable`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias
from uuid import UUID

from schemas.events import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do: data, against which a request is checked before it is accepted.

    `models` None: any name. `aspect_ratios` None: any. `repeatable`: a second `dispatch` of an attempt that still runs
    starts nothing anew. `observable`: `look` tells what became of an attempt.
    """

    size_min: int
    size_max: int
    size_step: int
    models: tuple[str, ...] | None = None
    aspect_ratios: tuple[str, ...] | None = None
    reference_images: bool = False
    cancel: bool = False
    repeatable: bool = False
    observable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a provider is treated over time. Seconds.

    `calls_at_once`: calls of `dispatch` under way in one process. `call_may_last_s`: for so long after an attempt was
    announced it may still run though nobody knows of it, so nothing else may be started for its generation.
    `call_is_the_run`: nothing but the call itself does the work, so the attempt starts when the call does.
    `silence_s`: without an event for so long it is looked at, then every `look_every_s`; None: as the settings say.
    """

    calls_at_once: int = 32
    call_may_last_s: float = 0.0
    call_is_the_run: bool = False
    silence_s: float | None = None
    look_every_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRequest:
    """One attempt at one generation. `model` is the provider's own name for it. `announced_at`: when it was said on the
    log that a provider gets it; None where that is not known."""

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
    announced_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderJob:
    """What is known of an attempt that was handed over. Both ids are None when the answer to the call was lost.
    `started_at`: when somebody said that they work on it. `cancel_requested`: its owner does not want it any more."""

    dispatched_at: datetime
    started_at: datetime | None = None
    cancel_requested: bool = False
    provider_job_id: str | None = None
    endpoint_id: str | None = None


class Blame(StrEnum):
    """Whose fault a refusal is. REQUEST: the same request will fail anywhere like it. CONFIGURATION: keys, models,
    billing: no request will pass until people act. CAPACITY: too much at once. PROVIDER: it is broken."""

    REQUEST = "request"
    CONFIGURATION = "configuration"
    CAPACITY = "capacity"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The provider has it. `provider_job_id`: the provider's own name for it; `endpoint_id`: where to ask for it."""

    provider_job_id: str | None
    endpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The images are made, and in our store."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Moderated:
    """The provider will not make this image: final."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt failed, or was never taken; `retryable` when another one might do better, after `retry_after_s`."""

    code: str
    message: str
    retryable: bool
    blame: Blame = Blame.PROVIDER
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Superseded:
    """A cancel or a later attempt was there first: nothing runs, and there is nothing to say about it."""


@dataclass(frozen=True, slots=True)
class Running:
    """It waits at the provider, or runs. `alive`: somebody is at work on it now, so the silence begins anew. `note`:
    what is the matter, for operators."""

    alive: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The provider does not have it (any more), and no result was found: it will not come to an end by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halted:
    """It was canceled at the provider."""


DispatchOutcome: TypeAlias = Dispatched | Finished | Moderated | Refused | Superseded
LookOutcome: TypeAlias = Running | Finished | Moderated | Refused | Lost | Halted


class CancelOutcome(StrEnum):
    """STOPPED: it does not run and never will. ASKED: whoever runs it was told, and will say what became of it.
    OVER: it had ended, or a later attempt has taken its place."""

    STOPPED = "stopped"
    ASKED = "asked"
    OVER = "over"


class Provider(Protocol):
    """Whoever makes the images. Every method raises TransientError when it is not known what came of the call."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def pace(self) -> Pace: ...

    def model_for(self, asked: str) -> str:
        """The provider's own name for the model; its default for one that it does not have."""
        ...

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        """Hands the attempt over; returns its result where the provider answers with it."""
        ...

    async def look(self, request: DispatchRequest, job: ProviderJob) -> LookOutcome:
        """What has become of it."""
        ...

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        """Stops the attempt, or sees to it that it never starts."""
        ...


Providers: TypeAlias = Mapping[str, Provider]
