"""Requests, resources and problems of the HTTP API, version 1. Requests refuse unknown fields; responses may grow."""

from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import GridPixels, Moment, Name, Percent, Prompt, Seed

StatusName: TypeAlias = Literal[
    "queued", "dispatched", "processing", "completed", "failed", "canceled", "timed_out", "moderated"
]


class Request(BaseModel):
    """What a client sends: unknown fields are refused, so that a typing error is not taken for a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Resource(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(frozen=True)


class CreateGeneration(Request):
    """`POST /v1/generations`. Without a seed one is drawn; without model and provider the defaults serve."""

    prompt: Prompt = Field(description="what to draw", examples=["a lighthouse in a storm, oil painting"])
    width: GridPixels = Field(default=1024, description="pixels, a multiple of 64")
    height: GridPixels = Field(default=1024, description="pixels, a multiple of 64")
    seed: Seed | None = Field(default=None, description="the same prompt, seed and size give the same image")
    model: Name | None = None
    provider: Name | None = None


class ProgressResource(Resource):
    """How far it got; `percent` is null while that is not known."""

    percent: Percent | None
    stage: str | None


class QueueResource(Resource):
    """Where it stands among all that wait for the same provider, as of a moment at most some seconds ago."""

    position: int = Field(description="1 is next")
    at_least: bool = Field(description="there are more ahead than were counted")
    starts_in_s: float | None = Field(
        description="seconds until it starts, guessed from the runs of the last minutes; null: there were none"
    )
    as_of: Moment


class OutputResource(Resource):
    """One result. URLs are signed and end after `PRESIGNED_URL_TTL_S`; ask again for fresh ones."""

    id: str
    url: str
    thumbnail_url: str | None
    thumbnail_error: str | None = Field(description="why there will be no thumbnail")
    mime_type: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None


class ErrorResource(Resource):
    """Why it did not end well."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = Field(default=None, description="seconds until the provider wants another try")


class MetricsResource(Resource):
    """Milliseconds: waiting, running, and both; null while not known."""

    queue_ms: int | None
    run_ms: int | None
    total_ms: int | None


class GenerationUrls(Resource):
    """Where to go from here."""

    self: str
    cancel: str
    events: str
    stream: str


class GenerationResource(Resource):
    """A generation as the projections have it. `version` grows with every change."""

    id: UUID
    status: StatusName
    version: int
    model: str
    provider: str
    attempt: int
    prompt: str
    seed: int
    width: int
    height: int
    progress: ProgressResource
    queue: QueueResource | None = Field(
        description="null in the answer to a request, once somebody works on it, and when it has ended"
    )
    outputs: list[OutputResource]
    error: ErrorResource | None
    metrics: MetricsResource
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    deadline: Moment | None
    retried_from: UUID | None
    urls: GenerationUrls


class CanceledGeneration(GenerationResource):
    """The resource, and whether it is (or will be) canceled."""

    canceled: bool


class GenerationPage(Resource):
    """Newest first. `next_cursor` is null on the last page."""

    data: list[GenerationResource]
    next_cursor: str | None


class EventResource(Resource):
    """One record of the history. `ignored` says why it changed nothing; null: it was applied."""

    position: str = Field(description="partition:offset in the log")
    generation_id: UUID
    type: str
    event_id: UUID | None
    attempt: int | None
    occurred_at: Moment | None
    appended_at: Moment
    version: int | None
    status: StatusName | None
    ignored: str | None
    event: dict[str, object]


class EventPage(Resource):
    """In the order of the log."""

    data: list[EventResource]
    next_cursor: str | None


class FieldFault(Resource):
    """One thing that is wrong with a request: where, and what would be right."""

    field: str
    message: str


class Problem(Resource):
    """RFC 9457 problem details. `code` is stable and for programs; `errors` names each field at fault."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldFault] | None = None


class WebhookReceipt(Resource):
    """What a provider's call came to. `ignored`: the attempt had ended, or there is none of that name."""

    outcome: Literal["noted", "ignored"]
    detail: str | None


class Liveness(Resource):
    """The process answers. `starting`: a server that it needs has not answered yet, which restarting does not change.
    `tick_age_s`: seconds since its event loop last ticked."""

    status: Literal["starting", "alive"]
    tick_age_s: float


class Readiness(Resource):
    """Each server behind the API by name: `ok`, or what is wrong with it."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]
