"""Requests, resources and problems of the HTTP API, version 1. Requests refuse unknown fields; responses may grow."""

from typing import Literal, TypeAlias, TypeGuard
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.fields import GridPixels, Moment, Name, Percent, RequestedPrompt, Seed

StatusName: TypeAlias = Literal[
    "queued", "dispatched", "processing", "completed", "failed", "canceled", "timed_out", "moderated"
]


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and value.is_integer()


class Request(BaseModel):
    """A request body. Unknown fields are refused, so that a misspelled name is not taken for a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, given: object) -> object:
        """JSON has one type of numbers, and for JSON Schema 512.0 is an integer."""
        if not isinstance(given, dict):
            return given
        return {name: int(value) if _is_whole(value) else value for name, value in given.items()}


class Resource(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class CreateGeneration(Request):
    """`POST /v1/generations`. Without a seed the API chooses one; without model or provider the preferences
    of the account apply, else the defaults."""

    prompt: RequestedPrompt = Field(
        description="text that describes the image", examples=["a lighthouse in a storm, oil painting"]
    )
    width: GridPixels = Field(
        default=1024, description="pixels, a multiple of 64; left out: the preference of the account, if it has one"
    )
    height: GridPixels = Field(default=1024, description="as `width`")
    seed: Seed | None = Field(default=None, description="the same prompt, seed and size give the same image")
    model: Name | None = None
    provider: Name | None = None


class ProgressResource(Resource):
    """The progress of the attempt. `percent` is null while unknown."""

    percent: Percent | None
    stage: str | None


class QueueResource(Resource):
    """The position among all generations queued at the same provider, as of at most some seconds ago. Users
    share a provider: of two that queue many, each has every second one."""

    position: int = Field(description="1 is next")
    at_least: bool = Field(description="the true position may be higher")
    starts_in_s: float | None = Field(
        description="estimated seconds until it starts, by the runs of the last minutes; null without any"
    )
    as_of: Moment


class OutputResource(Resource):
    """One result. URLs are signed for GET alone, and end at `expires_at`; request the generation again for new ones."""

    id: str
    url: str | None = Field(description="null: the output is missing")
    missing: bool = Field(description="its worker reported it, and it is not in the object store")
    thumbnail_url: str | None
    expires_at: Moment | None = Field(
        description="until when `url` and `thumbnail_url` are valid: at least half of PRESIGNED_URL_TTL_S, or until the"
        " credentials that signed them end; null without a URL"
    )
    thumbnail_error: str | None = Field(description="why there is no thumbnail")
    mime_type: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None


class ErrorResource(Resource):
    """Why the generation ended without a result, or why its last attempt failed."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = Field(
        default=None, description="seconds that the provider asks to wait before the next attempt"
    )


class MetricsResource(Resource):
    """Durations in milliseconds: queued, running, and in total. Null while unknown, and where the provider reported no
    start."""

    queue_ms: int | None
    run_ms: int | None
    total_ms: int | None


class GenerationUrls(Resource):
    """Links to the operations of this generation."""

    self: str
    cancel: str
    events: str
    stream: str


class GenerationResource(Resource):
    """A generation in the projections. `version` grows with every change."""

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
        description="null in the POST response, once a worker has started, and after the generation has ended"
    )
    outputs: list[OutputResource]
    error: ErrorResource | None
    cancel_requested: bool = Field(
        description="a cancellation was requested and its worker has not stopped; false once the generation has ended"
    )
    metrics: MetricsResource
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    deadline: Moment | None
    retried_from: UUID | None
    urls: GenerationUrls


class CanceledGeneration(GenerationResource):
    """The generation, and whether it is canceled. Until it has ended, `cancel_requested` is true: its worker has not
    stopped, so that it may still complete, or the projections do not have the request yet."""

    canceled: bool = Field(description="whether `status` is `canceled`")


class DeletingGeneration(GenerationResource):
    """The generation as readers still find it. Its deletion is recorded, and the projections will apply it."""

    deletion_requested: bool = Field(description="always true")


class GenerationPage(Resource):
    """Newest first. `next_cursor` is null on the last page. With a filter, a page before may be short, and even empty:
    a request reads a limited number of generations."""

    data: list[GenerationResource]
    next_cursor: str | None


class EventResource(Resource):
    """One record of the timeline. `ignored`: why it changed nothing; null: it was applied."""

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
    """In the order of the log. `pruned_before`: events appended before this moment were removed by the retention of the
    timeline; null: it is complete."""

    data: list[EventResource]
    next_cursor: str | None
    pruned_before: Moment | None


class StreamTokenResource(Resource):
    """For the parameter `token` of event streams, until `expires_at`. A stream that is open then stays open."""

    token: str
    expires_at: Moment


class FieldFault(Resource):
    """A fault of a request: the field, and what is expected there."""

    field: str
    message: str


class Problem(Resource):
    """RFC 9457 problem details. `code` is stable and for programs; `errors` names each invalid field."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldFault] | None = None


class WebhookReceipt(Resource):
    """The effect of a webhook. `ignored`: the attempt has ended, or does not exist."""

    outcome: Literal["noted", "ignored"]
    detail: str | None


class InProgressUsage(Resource):
    """Generations that have not ended. `limit` and `remaining`: null without a limit."""

    limit: int | None
    used: int
    remaining: int | None


class DailyUsage(InProgressUsage):
    """Generations requested on this day in UTC."""

    resets_at: Moment


class UsageResource(Resource):
    """`requests_per_minute`: null without a limit; what remains of it is in the field `RateLimit` of each response."""

    daily: DailyUsage
    in_progress: InProgressUsage
    requests_per_minute: int | None


class Liveness(Resource):
    """The process answers. `starting`: a server that it needs has not answered yet, which a restart does not change.
    `tick_age_s`: seconds since the last tick of its event loop."""

    status: Literal["starting", "alive"]
    tick_age_s: float


class Readiness(Resource):
    """Each check by name: `ok`, or the fault. `degraded`: the API answers, and a part of the system behind it does not
    do its work."""

    status: Literal["ready", "degraded", "not_ready"]
    checks: dict[str, str]
