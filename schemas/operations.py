"""All operations of the HTTP API in one table, with their parameters and response statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from pydantic import BaseModel

from schemas.fields import NO_NUL
from schemas.http import (
    CanceledGeneration,
    CreateGeneration,
    DeletingGeneration,
    EventPage,
    GenerationPage,
    GenerationResource,
    Liveness,
    Readiness,
    StatusName,
    StreamTokenResource,
    WebhookReceipt,
)
from schemas.worker import WorkerEventOutcomes, WorkerEvents
from schemas.worker_jobs import (
    ClaimedJob,
    ClaimJob,
    JobHeartbeat,
    JobReceipt,
    JobRelease,
    JobReport,
    JobStanding,
    JobUpload,
    UploadUrl,
)

Answer = type[BaseModel] | str | None
"""A model as JSON, the content type of a text, or None for an empty body."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `answers`: by status; `refusals`: the statuses of its problem documents; `by_token`: a stream token in
    the query does in place of a key."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    secured: bool = True
    by_token: bool = False


_text: Final = {"type": "string"}
_plain: Final = {"type": "string", "minLength": 1, "pattern": NO_NUL}
_position: Final = {"type": "string", "pattern": "^[0-9]{1,5}:[0-9]{1,18}$"}
_moment: Final = {"type": "string", "format": "date-time"}

PARAMETERS: Final[Mapping[str, dict[str, object]]] = {
    "id": {"in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
    "status": {"in": "query", "style": "form", "explode": False,
               "schema": {"type": "array", "minItems": 1,
                          "items": {"type": "string", "enum": list(get_args(StatusName))}}},
    "provider": {"in": "query", "schema": {**_plain, "maxLength": 100}},
    "q": {"in": "query", "description": "a substring of the prompt, ignoring case",
          "schema": {**_plain, "maxLength": 200}},
    "created_after": {"in": "query", "description": "inclusive", "schema": _moment},
    "created_before": {"in": "query", "description": "exclusive", "schema": _moment},
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}},
    "events_limit": {"name": "limit", "in": "query",
                     "schema": {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 500}},
    "cursor": {"in": "query", "description": "next_cursor of the previous page, unchanged",
               "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,198}={0,2}$"}},
    "events_cursor": {"name": "cursor", "in": "query", "description": "next_cursor of the previous page, unchanged",
                      "schema": _position},
    "Min-Position": {"in": "header", "description": "wait until the projections have this `Gengui-Position`",
                     "schema": _position},
    "Idempotency-Key": {"in": "header", "description": "requests with the same key and body return the same generation",
                        "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"}},
    "If-None-Match": {"in": "header", "description": "the `ETag` of an earlier response: 304 if nothing has changed",
                      "schema": _text},
    "Prefer": {"in": "header", "description": "`wait=n`: respond once it has ended, or after n seconds (at most 60)",
               "schema": _text},
    "webhook_provider": {"name": "provider", "in": "path", "required": True, "schema": _text},
    "webhook_token": {"name": "token", "in": "path", "required": True, "schema": _text},
    "Last-Event-ID": {"in": "header", "description": "continue after this event; browsers send it automatically",
                      "schema": _text},
    "last_event_id": {"in": "query", "description": "the same, for a new EventSource; the header takes precedence",
                      "schema": {"type": "string",
                                 "pattern": "^(beginning|[0-9]{1,5}:[0-9]{1,18}(,[0-9]{1,5}:[0-9]{1,18})*)$"}},
    "token": {"in": "query", "description": "from `POST /v1/stream-tokens`, in place of a key",
              "schema": {"type": "string", "pattern": "^gg_stream_[A-Za-z0-9_-]{43}$"}},
}  # fmt: skip

ANSWER_HEADERS: Final[Mapping[str, dict[str, object]]] = {
    "ETag": {"description": "for `If-None-Match` of the next request", "schema": _text},
    "Location": {"description": "the generation", "schema": _text},
    "Gengui-Position": {"description": "partition:offset of the event in the log", "schema": _text},
    "Idempotent-Replayed": {
        "description": "`true`: an earlier request with this key created the generation",
        "schema": _text,
    },
    "Preference-Applied": {"description": "the applied `wait` preference", "schema": _text},
}

_JOB: Final = "/v1/worker/jobs/{id}"
_JOB_REFUSALS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_ALL: Final = "/v1/generations"
_ONE: Final = "/v1/generations/{id}"
_MADE: Final = ("Location", "Gengui-Position", "Idempotent-Replayed", "Preference-Applied")
_FILTERS: Final = ("status", "provider", "q", "created_after", "created_before")
_MAKE: Final = {202: GenerationResource, 200: GenerationResource}
_EVENTS: Final = {200: "text/event-stream"}

OPERATIONS: Final = (
    Operation("post", _ALL, "create", "generations", "Request an image", _MAKE,
              (400, 401, 403, 408, 413, 415, 422, 503), CreateGeneration, ("Idempotency-Key", "Prefer"), _MADE),
    Operation("get", _ALL, "list", "generations", "List generations, newest first", {200: GenerationPage},
              (400, 401, 422, 503, 504), None, (*_FILTERS, "limit", "cursor", "Min-Position")),
    Operation("get", _ONE, "get", "generations", "Get a generation", {200: GenerationResource, 304: None},
              (400, 401, 404, 422, 503, 504), None, ("Min-Position", "If-None-Match"), ("ETag",)),
    Operation("delete", _ONE, "delete", "generations", "Delete a generation",
              {204: None, 202: DeletingGeneration}, (400, 401, 403, 404, 422, 503, 504), None,
              ("Min-Position",), ("Gengui-Position",)),
    Operation("post", f"{_ONE}/cancel", "cancel", "generations", "Cancel a generation; safe to repeat",
              {200: CanceledGeneration, 202: CanceledGeneration}, (400, 401, 403, 404, 422, 503, 504), None,
              ("Min-Position",), ("Gengui-Position",)),
    Operation("post", f"{_ONE}/retry", "retry", "generations", "Retry an ended generation as a new generation", _MAKE,
              (400, 401, 403, 404, 409, 422, 503, 504), None, ("Idempotency-Key", "Prefer", "Min-Position"), _MADE),
    Operation("get", f"{_ONE}/events", "events", "timeline", "The timeline of a generation", {200: EventPage},
              (400, 401, 404, 422, 503, 504), None, ("events_limit", "events_cursor", "Min-Position")),
    Operation("get", f"{_ONE}/stream", "stream", "timeline", "Stream the events of a generation (server-sent events)",
              _EVENTS, (400, 401, 404, 422, 503, 504), None,
              ("Last-Event-ID", "last_event_id", "token", "Min-Position"), by_token=True),
    Operation("get", "/v1/stream", "stream_all", "timeline", "Stream all events of the caller (server-sent events)",
              _EVENTS, (400, 401, 422, 503), None, ("Last-Event-ID", "last_event_id", "token"), by_token=True),
    Operation("post", "/v1/stream-tokens", "create_stream_token", "timeline",
              "Get a token of ten minutes for the query of event streams", {201: StreamTokenResource},
              (400, 401, 422, 503)),
    Operation("post", "/v1/worker/events", "report", "workers", "Report events of workers, each accepted or refused",
              {200: WorkerEventOutcomes}, (400, 401, 403, 404, 408, 413, 415, 422, 503), WorkerEvents),
    Operation("post", "/v1/worker/jobs/claim", "claim_job", "workers", "Lease the oldest queued job, or wait for one",
              {200: ClaimedJob, 204: None}, (400, 401, 403, 408, 413, 415, 422, 503), ClaimJob),
    Operation("post", f"{_JOB}/heartbeat", "job_heartbeat", "workers", "Extend the lease; whether the job goes on",
              {200: JobStanding}, _JOB_REFUSALS, JobHeartbeat),
    Operation("post", f"{_JOB}/upload", "job_upload", "workers", "A signed URL to upload one output",
              {200: UploadUrl}, _JOB_REFUSALS, JobUpload),
    Operation("post", f"{_JOB}/report", "job_report", "workers", "Report a status of the job",
              {200: JobReceipt}, _JOB_REFUSALS, JobReport),
    Operation("post", f"{_JOB}/release", "job_release", "workers", "Give the job back: it is queued again at once",
              {204: None}, _JOB_REFUSALS, JobRelease),
    Operation("post", "/v1/provider-webhooks/{provider}/{token}", "called", "providers",
              "Webhook of a provider: an attempt has ended; the body is ignored", {200: WebhookReceipt},
              (400, 404, 408, 413, 415, 503), None, ("webhook_provider", "webhook_token"), secured=False),
    Operation("get", "/livez", "livez", "service", "Liveness", {200: Liveness}, secured=False),
    Operation("get", "/readyz", "readyz", "service", "Readiness", {200: Readiness, 503: Readiness},
              secured=False),
    Operation("get", "/metrics", "metrics", "service", "Prometheus metrics", {200: "text/plain"}, secured=False),
    Operation("get", "/openapi.json", "openapi", "service", "This document", {200: "application/json"},
              secured=False),
    Operation("get", "/docs", "docs", "service", "Swagger UI", {200: "text/html"}, secured=False),
)  # fmt: skip
