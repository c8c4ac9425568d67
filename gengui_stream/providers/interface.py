"""The interface of an image provider. A new one is one folder, and one line in `registry`.

Expected refusals are values. TransientError means that the outcome of the call is unknown: `get_status` finds it out,
or a second `dispatch` where the provider is `repeatable`.
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
    """What a provider supports. Requests are validated against it before they are accepted.

    `models` None: any name. `aspect_ratios` None: any. `repeatable`: a second `dispatch` of a running attempt does not
    start it again. `observable`: `get_status` reports the outcome of an attempt.
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
class CallPolicy:
    """How the system calls a provider. Seconds.

    `max_concurrency`: concurrent calls of `dispatch` in one process. `in_doubt_s`: how long after its announcement an
    attempt whose call was lost may still run, so that nothing else may be started for its generation. `synchronous`:
    the call itself does the work, so the attempt starts when the call does. `heartbeat_timeout_s`: without an event for
    this long, the status of an attempt is queried, then every `poll_interval_s`; None: as the settings say.
    `queue_ahead`: how many attempts of a model may wait in the provider's own queue, or as many as it took in the last
    second; None: it has none. A full queue is polled every `queue_poll_interval_s`.
    """

    max_concurrency: int = 32
    in_doubt_s: float = 0.0
    synchronous: bool = False
    heartbeat_timeout_s: float | None = None
    poll_interval_s: float | None = None
    queue_ahead: int | None = None
    queue_poll_interval_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRequest:
    """One attempt of one generation. `model`: the provider's own name for it. `announced_at`: when the dispatch was
    appended to the log; None where that is unknown."""

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
    """What the log holds about a dispatched attempt. Both ids are None when the response of the call was lost.
    `started_at`: when a worker reported its start. `sends_heartbeats`: as far as its reports tell. `cancel_requested`:
    by the owner of the generation."""

    dispatched_at: datetime
    started_at: datetime | None = None
    sends_heartbeats: bool = True
    cancel_requested: bool = False
    provider_job_id: str | None = None
    endpoint_id: str | None = None


class FaultDomain(StrEnum):
    """Where the cause of a refusal is. REQUEST: the same request fails at any provider like it. CONFIGURATION: keys,
    models, billing: every request fails until an operator acts. CAPACITY: too many requests. PROVIDER: an outage."""

    REQUEST = "request"
    CONFIGURATION = "configuration"
    CAPACITY = "capacity"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The provider accepted the attempt. `provider_job_id`: its id there; `endpoint_id`: the endpoint that has it."""

    provider_job_id: str | None
    endpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunTimes:
    """When the run began and ended, by the provider. `ended_at` is None while it runs."""

    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The images are complete, and in the object store."""

    outputs: tuple[Output, ...]
    times: RunTimes | None = None


@dataclass(frozen=True, slots=True)
class Moderated:
    """The provider declined the prompt or the image: final."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt failed or was rejected. `retryable`: another attempt may succeed, after `retry_after_s`."""

    code: str
    message: str
    retryable: bool
    fault_domain: FaultDomain = FaultDomain.PROVIDER
    retry_after_s: float | None = None
    times: RunTimes | None = None


@dataclass(frozen=True, slots=True)
class Superseded:
    """A cancellation or a later attempt came first: nothing runs, and no event follows."""


@dataclass(frozen=True, slots=True)
class Running:
    """Queued or running at the provider. `alive`: a worker is running it now, which counts as a heartbeat. `note`: the
    provider's state, for operators."""

    alive: bool = False
    note: str | None = None
    times: RunTimes | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The provider does not have the attempt, and no result was found: it will never end by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Canceled:
    """The attempt was canceled at the provider."""


DispatchOutcome: TypeAlias = Dispatched | Finished | Moderated | Refused | Superseded
StatusOutcome: TypeAlias = Running | Finished | Moderated | Refused | Lost | Canceled


class CancelOutcome(StrEnum):
    """STOPPED: the attempt does not run and never will. REQUESTED: its worker was notified, and reports the outcome.
    ALREADY_ENDED: it had ended, or a later attempt has replaced it."""

    STOPPED = "stopped"
    REQUESTED = "asked"
    ALREADY_ENDED = "over"


class Provider(Protocol):
    """Makes images. Every method raises TransientError when the outcome of the call is unknown."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def call_policy(self) -> CallPolicy: ...

    def model_for(self, requested: str) -> str:
        """The provider's own name for the requested model; its default for an unknown one."""
        ...

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        """Submits the attempt; returns its result where the provider is synchronous."""
        ...

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        """The state of the attempt at the provider."""
        ...

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        """Stops the attempt, or prevents it from starting."""
        ...

    async def waiting(self, model: str, most: int) -> int | None:
        """How many attempts wait in the provider's queue before one of this model, those of others included; counted up
        to `most`. None: the provider has no queue, or does not report it."""
        ...


Providers: TypeAlias = Mapping[str, Provider]
