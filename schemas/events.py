"""The events of the log: a closed union, discriminated by `type`.

Names and fields are the storage format of a log that is never rewritten: a published field is never renamed, retyped or
removed. A change is a new optional field, or a new `schema_version` with an upcaster (`schemas/upcasting.py`). Readers
ignore unknown fields (`extra="ignore"`), so a newer producer does not break an older reader.
"""

from typing import Annotated, Literal, TypeAlias, get_args
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


class Frozen(BaseModel):
    """An immutable value read from the log; unknown fields of newer producers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _type_is_required(schema: JsonDict) -> None:
    """The default serves constructors in Python; on the wire the field is required, since readers select the class by
    it."""
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict) and "type" in properties and isinstance(required, list):
        schema["required"] = [*required, "type"]


class Envelope(Frozen):
    """The fields of every event."""

    model_config = ConfigDict(json_schema_extra=_type_is_required)

    id: UUID = Field(description="UUIDv7 of this event; a repeated append of the same fact has the same id")
    schema_version: int = Field(default=1, ge=1, le=1, strict=True)
    generation_id: UUID = Field(description="the generation of the event, which is the key of the record")
    attempt: Attempt | None = Field(default=None, description="null: the current attempt")
    occurred_at: Moment = Field(description="time of the event by the producer's clock")
    producer: Name = Field(description="source of the event: api, dispatch, worker/<host>-<pid>, bridge, ...")
    correlation_id: Name | None = None
    traceparent: TraceParent | None = Field(default=None, description="W3C trace context")
    tracestate: TraceState | None = None


class Output(Frozen):
    """One stored result. Workers of the original service report only the key; the other fields may be unknown."""

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
    retry_after_s: RetryAfter | None = Field(
        default=None, description="seconds that the provider asks to wait before the next attempt"
    )


class ProviderChoice(Frozen):
    """Why this provider was chosen: the client named it, a flag chose it (with its experiment), or it is the
    default."""

    source: Literal["request", "flag", "default"]
    flag: Name | None = None
    experiment: Name | None = None
    variation: Name | None = None


LastHeard: TypeAlias = Annotated[
    Moment | None,
    Field(description="last sign of life known to the producer; the event is ignored if the log has a later one"),
]


class GenerationRequested(Envelope):
    """A client requested an image. Holds everything that never changes afterwards."""

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
    """The attempt is about to be handed to a provider. Appended before the provider is called.

    `provider` and `model` may differ from the requested ones: `fallback_reason` says why.
    """

    type: Literal["generation.dispatched"] = "generation.dispatched"
    provider: Name
    provider_job_id: Name | None = None
    model: Name | None = Field(default=None, description="null: the requested model")
    fallback_reason: Text | None = None


class GenerationAccepted(Envelope):
    """The provider accepted the attempt under this job id at this endpoint."""

    type: Literal["generation.accepted"] = "generation.accepted"
    provider: Name
    provider_job_id: Name
    endpoint_id: Name | None = None


class GenerationStarted(Envelope):
    """A worker started the attempt."""

    type: Literal["generation.started"] = "generation.started"
    worker: Name | None = None


class GenerationProgressed(Envelope):
    """The attempt made progress; `percent` only grows within an attempt."""

    type: Literal["generation.progressed"] = "generation.progressed"
    percent: Percent
    stage: Name | None = None


class GenerationHeartbeatReceived(Envelope):
    """The worker is alive and still processing the attempt."""

    type: Literal["generation.heartbeat_received"] = "generation.heartbeat_received"


class GenerationCompleted(Envelope):
    """The attempt succeeded; its results are in the object store."""

    type: Literal["generation.completed"] = "generation.completed"
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=16)]


class GenerationFailed(Envelope):
    """The attempt failed; the fold decides whether another one follows."""

    type: Literal["generation.failed"] = "generation.failed"
    error: Failure


class GenerationCancelRequested(Envelope):
    """The owner requested a cancellation."""

    type: Literal["generation.cancel_requested"] = "generation.cancel_requested"


class GenerationCanceled(Envelope):
    """The generation was canceled; its worker has stopped, or there was none."""

    type: Literal["generation.canceled"] = "generation.canceled"


class GenerationTimedOut(Envelope):
    """The generation ended without a result: its deadline passed, or its last attempt was silent for too long."""

    type: Literal["generation.timed_out"] = "generation.timed_out"
    schema_version: int = Field(default=2, ge=2, le=2, strict=True)
    reason: Text
    last_heard_at: LastHeard = None


class GenerationModerated(Envelope):
    """The provider refused the content. Final, never retried."""

    type: Literal["generation.moderated"] = "generation.moderated"
    reason: Text


class GenerationRetried(Envelope):
    """`attempt` ended without a failure of its own (for example its worker was lost), and the next one begins."""

    type: Literal["generation.retried"] = "generation.retried"
    reason: Text
    last_heard_at: LastHeard = None


ThumbnailRevision: TypeAlias = Annotated[
    Revision,
    Field(description="number of the output's thumbnail: 1 follows the completion, later ones follow requests"),
]


class ThumbnailRequested(Envelope):
    """A backfill requested a new thumbnail of one output. `revision` is the output's last one plus one, so that two
    requests for the same thumbnail count as one."""

    type: Literal["thumbnail.requested"] = "thumbnail.requested"
    output_id: OutputId = "0"
    revision: ThumbnailRevision


class SourceImage(Frozen):
    """An output as its bytes describe it."""

    mime_type: Name
    width: Pixels
    height: Pixels
    bytes: ByteCount
    sha256: Sha256


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
    source: SourceImage | None = Field(
        default=None, description="the output itself, where its worker has not said all of it"
    )


class ThumbnailFailed(Envelope):
    """No thumbnail can be made of this output; its generation stays completed."""

    type: Literal["thumbnail.failed"] = "thumbnail.failed"
    output_id: OutputId = "0"
    reason: ErrorCode
    message: Text | None = None
    revision: ThumbnailRevision = 1


class GenerationDeleted(Envelope):
    """The owner deleted the generation, which also cancels it; its objects are removed after a grace time."""

    type: Literal["generation.deleted"] = "generation.deleted"


class OutputsDeleted(Envelope):
    """The outputs of a deleted generation, and their thumbnails, were removed from the object store."""

    type: Literal["outputs.deleted"] = "outputs.deleted"


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
    | OutputsDeleted
)

EVENT_CLASSES: tuple[type[Event], ...] = get_args(Event)

AnyEvent: TypeAlias = Annotated[Event, Field(discriminator="type")]
