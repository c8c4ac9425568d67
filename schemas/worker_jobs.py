"""Jobs of workers over HTTP: claim, heartbeat, upload, report and release, under `/v1/worker/jobs`."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from schemas.fields import (
    ByteCount,
    ErrorCode,
    Moment,
    Name,
    ObjectKey,
    OutputId,
    Percent,
    Pixels,
    RetryAfter,
    Sha256,
    Text,
    WrittenId,
    WrittenMoment,
)
from schemas.http import Request, Resource

MODELS_MAX = 32
CLAIM_WAIT_MAX_S = 60
LEASE_DEFAULT_S, LEASE_MAX_S = 30, 3_600
OUTPUTS_MAX = 16

Lease: TypeAlias = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9a-f]{32}$",
        description="the token of the claim, valid with the API key that claimed",
    ),
]
MimeType: TypeAlias = Literal["image/png", "image/jpeg", "image/webp"]
JobState: TypeAlias = Literal["running", "canceled", "deleted", "superseded", "ended"]


class ClaimJob(Request):
    """`POST /v1/worker/jobs/claim`."""

    models: list[Name] | None = Field(
        default=None, min_length=1, max_length=MODELS_MAX, description="only jobs for one of these models; null: any"
    )
    wait_s: float = Field(
        default=20, ge=0, le=CLAIM_WAIT_MAX_S, description="seconds to wait for a job; then the answer is 204"
    )
    lease_s: float = Field(
        default=LEASE_DEFAULT_S,
        ge=1,
        le=LEASE_MAX_S,
        description="seconds without a heartbeat after which another worker gets the job",
    )
    worker: Name | None = Field(default=None, description="name of the worker, for the timeline")


class JobUrls(Resource):
    """Links to the operations of this job."""

    heartbeat: str
    upload: str
    report: str
    release: str


class ClaimedJob(Resource):
    """A job under a lease. `id` is the id of its generation."""

    id: UUID
    attempt: int
    lease: str = Field(description="send it with every call about this job")
    lease_s: float
    lease_expires_at: Moment
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    deadline: Moment | None
    traceparent: str | None = Field(
        default=None, description="W3C trace context of the generation: send it as the header of later calls"
    )
    upload_max_bytes: int
    urls: JobUrls


class LeasedRequest(Request):
    """Accepted with the API key that claimed the lease."""

    lease: Lease


class JobHeartbeat(LeasedRequest):
    """`POST /v1/worker/jobs/{id}/heartbeat`: send one at least every third of the lease."""


class JobStanding(Resource):
    """Go on while `state` is `running`. `canceled`, `deleted`: stop, and report `generation.canceled`. `superseded` (by
    a later attempt), `ended`: stop."""

    state: JobState
    lease_expires_at: Moment | None = Field(description="null: the lease has ended")


class JobRelease(LeasedRequest):
    """`POST /v1/worker/jobs/{id}/release`: queue the job again."""


class JobUpload(LeasedRequest):
    """`POST /v1/worker/jobs/{id}/upload`: a URL for one output."""

    mime_type: MimeType
    bytes: ByteCount = Field(ge=1, description="exact size of the object")
    output_id: OutputId = "0"


class UploadUrl(Resource):
    """Send the object with this method and exactly these headers; the object store refuses another type or size."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    object_key: str = Field(description="the `object_key` of the output in the report")
    expires_at: Moment


class _Reported(Request):
    """`id`: repeated reports of one fact have the same id; null: one that follows from lease and content."""

    id: WrittenId | None = Field(default=None, strict=False)
    occurred_at: WrittenMoment | None = Field(default=None, strict=False, description="null: now")


class JobStarted(_Reported):
    """The work has started."""

    type: Literal["generation.started"]


class JobProgressed(_Reported):
    """`percent` only grows within an attempt."""

    type: Literal["generation.progressed"]
    percent: Percent
    stage: Name | None = None


class JobOutput(Request):
    """One uploaded object. Type and size default to those of the upload."""

    id: OutputId = "0"
    object_key: ObjectKey
    mime_type: Name | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    bytes: ByteCount | None = None
    sha256: Sha256 | None = None


class JobCompleted(_Reported):
    """The outputs are in the object store, under keys that `upload` gave for this lease."""

    type: Literal["generation.completed"]
    outputs: list[JobOutput] = Field(min_length=1, max_length=OUTPUTS_MAX)


class JobFailure(Request):
    """A stable code for programs, a sentence for people."""

    code: ErrorCode
    message: Text
    retryable: bool = Field(default=False, description="another attempt may succeed")
    retry_after_s: RetryAfter | None = None


class JobFailed(_Reported):
    """The attempt failed."""

    type: Literal["generation.failed"]
    error: JobFailure


class JobModerated(_Reported):
    """The prompt or the image was declined: final."""

    type: Literal["generation.moderated"]
    reason: Text


class JobCanceled(_Reported):
    """The work was stopped on request."""

    type: Literal["generation.canceled"]


JobEvent: TypeAlias = Annotated[
    JobStarted | JobProgressed | JobCompleted | JobFailed | JobModerated | JobCanceled, Field(discriminator="type")
]


class JobReport(LeasedRequest):
    """`POST /v1/worker/jobs/{id}/report`. Also extends the lease; the last four types end it."""

    event: JobEvent


class JobReceipt(JobStanding):
    """The event is on the log. `position` is null for a repeated report of the end, which was recorded before."""

    position: str | None
