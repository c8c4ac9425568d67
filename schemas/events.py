"""The events of the log: a closed union, told apart by `type`.

These names and fields are the storage format of a log that is never rewritten: a published field is never
renamed, never retyped and never removed. A change is a new optional field, or a new `schema_version` with an
upcaster. Readers ignore fields they do not know (`extra="ignore"`), so a newer producer never breaks an older reader.

`attempt` is the attempt the event speaks of; `None` means "the current one", which is all that workers of the
original service can say.
"""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from schemas.fields import (
    Attempt,
    ByteCount,
    ErrorCode,
    Moment,
    Name,
    ObjectKey,
    OutputId,
    Percent,
    Pixels,
    Prompt,
    RetryAfter,
    Revision,
    Seed,
    Sha256,
    Text,
    TraceParent,
    TraceState,
)

SCHEMA_VERSION = 1


class Frozen(BaseModel):
    """An immutable value read from the log; fields of newer writers are ignored on purpose."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _type_is_required(schema: JsonDict) -> None:
    """It has a default for those who make an event here; who sends one must name it, or nobody can read it."""
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict) and "type" in properties and isinstance(required, list):
        schema["required"] = [*required, "type"]


class Envelope(Frozen):
    """What every event carries, whatever happened."""

    model_config = ConfigDict(json_schema_extra=_type_is_required)

    id: UUID = Field(description="UUIDv7 of this event; a re-append of the same fact keeps it")
    schema_version: Literal[1] = 1
    generation_id: UUID = Field(description="the generation it belongs to, and the key of the record")
    attempt: Attempt | None = Field(default=None, description="None: the current attempt")
    occurred_at: Moment = Field(description="when it happened, by the producer's clock")
    producer: Name = Field(description="who says so: api, dispatch, worker/<host>-<pid>, bridge, ...")
    correlation_id: Name | None = None
    traceparent: TraceParent | None = Field(default=None, description="W3C trace context")
    tracestate: TraceState | None = None


class Output(Frozen):
    """One stored result. Workers of the original service tell only the key; the rest may be unknown."""

    id: OutputId = "0"
    object_key: ObjectKey
    mime_type: Name | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    bytes: ByteCount | None = None
    sha256: Sha256 | None = None


class Failure(Frozen):
    """Why an attempt failed: a stable code for programs, a sentence for people, never a traceback."""

    code: ErrorCode
    message: Text
    retryable: bool = False
    retry_after_s: RetryAfter | None = Field(default=None, description="the provider's own wish, in seconds")


class ProviderChoice(Frozen):
    """Why this provider: the client named it, a flag chose it (with the experiment it belongs to), or the default."""

    source: Literal["request", "flag", "default"]
    flag: Name | None = None
    experiment: Name | None = None
    variation: Name | None = None


LastHeard: TypeAlias = Annotated[
    Moment | None,
    Field(description="given up for silence since then: without effect if the attempt was heard of later"),
]


class GenerationRequested(Envelope):
    """A client asked for an image; everything that never changes afterwards."""

    type: Literal["generation.requested"] = "generation.requested"
    owner_id: UUID
    prompt: Prompt
    seed: Seed
    width: Pixels
    height: Pixels
    model: Name
    provider: Name
    max_attempts: Attempt = 3
    deadline: Moment | None = None
    retried_from: UUID | None = None
    provider_choice: ProviderChoice | None = None


class GenerationDispatched(Envelope):
    """The attempt is about to be handed to a provider; appended before the provider is called.

    `provider` and `model` may be others than requested: `fallback_reason` says why then.
    """

    type: Literal["generation.dispatched"] = "generation.dispatched"
    provider: Name
    provider_job_id: Name | None = None
    model: Name | None = Field(default=None, description="None: the model requested")
    fallback_reason: Text | None = None


class GenerationAccepted(Envelope):
    """The provider has the attempt, and this is where and under which name to ask for it."""

    type: Literal["generation.accepted"] = "generation.accepted"
    provider: Name
    provider_job_id: Name
    endpoint_id: Name | None = None


class GenerationStarted(Envelope):
    """A worker took the attempt up."""

    type: Literal["generation.started"] = "generation.started"
    worker: Name | None = None


class GenerationProgressed(Envelope):
    """The attempt got further; percent only ever grows within an attempt."""

    type: Literal["generation.progressed"] = "generation.progressed"
    percent: Percent
    stage: Name | None = None


class GenerationHeartbeatReceived(Envelope):
    """The worker is alive and still on the attempt."""

    type: Literal["generation.heartbeat_received"] = "generation.heartbeat_received"


class GenerationCompleted(Envelope):
    """The results are in the object store."""

    type: Literal["generation.completed"] = "generation.completed"
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=16)]


class GenerationFailed(Envelope):
    """The attempt failed; the fold decides whether another one follows."""

    type: Literal["generation.failed"] = "generation.failed"
    error: Failure


class GenerationCancelRequested(Envelope):
    """The owner does not want it any more."""

    type: Literal["generation.cancel_requested"] = "generation.cancel_requested"


class GenerationCanceled(Envelope):
    """Whoever ran it has stopped."""

    type: Literal["generation.canceled"] = "generation.canceled"


class GenerationTimedOut(Envelope):
    """The deadline passed, or nobody was heard of for too long: the generation is given up."""

    type: Literal["generation.timed_out"] = "generation.timed_out"
    reason: Text | None = None
    last_heard_at: LastHeard = None


class GenerationModerated(Envelope):
    """The provider refused the content: final, never retried."""

    type: Literal["generation.moderated"] = "generation.moderated"
    reason: Text


class GenerationRetried(Envelope):
    """`attempt` was given up without a failure of its own (a lost worker, say) and the next one begins."""

    type: Literal["generation.retried"] = "generation.retried"
    reason: Text
    last_heard_at: LastHeard = None


ThumbnailRevision: TypeAlias = Annotated[
    Revision, Field(description="which of the output's thumbnails: 1 follows the completion, each request asks for one")
]


class ThumbnailRequested(Envelope):
    """Another thumbnail of one output was requested, by a backfill. `revision` is the output's last one plus one, so
    that two requests for the same thumbnail are one."""

    type: Literal["thumbnail.requested"] = "thumbnail.requested"
    output_id: OutputId = "0"
    revision: ThumbnailRevision


class ThumbnailCreated(Envelope):
    """A thumbnail of one output is in the object store."""

    type: Literal["thumbnail.created"] = "thumbnail.created"
    output_id: OutputId = "0"
    object_key: ObjectKey
    mime_type: Name
    width: Pixels
    height: Pixels
    bytes: ByteCount
    revision: ThumbnailRevision = 1


class ThumbnailFailed(Envelope):
    """No thumbnail can be made of this output; the generation itself is unharmed."""

    type: Literal["thumbnail.failed"] = "thumbnail.failed"
    output_id: OutputId = "0"
    reason: ErrorCode
    message: Text | None = None
    revision: ThumbnailRevision = 1


class GenerationDeleted(Envelope):
    """The owner deleted it; the objects go by retention."""

    type: Literal["generation.deleted"] = "generation.deleted"


Event: TypeAlias = (
    GenerationRequested
    | GenerationDispatched
    | GenerationAccepted
    | GenerationStarted
    | GenerationProgressed
    | GenerationHeartbeatReceived
    | GenerationCompleted
    | GenerationFailed
    | GenerationCancelRequested
    | GenerationCanceled
    | GenerationTimedOut
    | GenerationModerated
    | GenerationRetried
    | ThumbnailRequested
    | ThumbnailCreated
    | ThumbnailFailed
    | GenerationDeleted
)

EVENT_CLASSES: tuple[type[Event], ...] = (
    GenerationRequested,
    GenerationDispatched,
    GenerationAccepted,
    GenerationStarted,
    GenerationProgressed,
    GenerationHeartbeatReceived,
    GenerationCompleted,
    GenerationFailed,
    GenerationCancelRequested,
    GenerationCanceled,
    GenerationTimedOut,
    GenerationModerated,
    GenerationRetried,
    ThumbnailRequested,
    ThumbnailCreated,
    ThumbnailFailed,
    GenerationDeleted,
)

AnyEvent: TypeAlias = Annotated[Event, Field(discriminator="type")]
