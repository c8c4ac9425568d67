"""Operations of users: generations, their timelines and streams."""

from typing import Final

from schemas.http import (
    CanceledGeneration,
    CreateGeneration,
    DeletingGeneration,
    EventPage,
    GenerationPage,
    GenerationResource,
    StreamTokenResource,
    UsageResource,
)
from schemas.operations.operation import EVENT_STREAM, Operation

_ALL: Final = "/v1/generations"
_ONE: Final = "/v1/generations/{id}"
_MADE: Final = ("Location", "Gengui-Position", "Idempotent-Replayed", "Preference-Applied")
_FILTERS: Final = ("status", "provider", "q", "created_after", "created_before")
_MAKE: Final = {202: GenerationResource, 200: GenerationResource}
_READ: Final = "generations:read"
_WRITE: Final = "generations:write"
_EVENTS: Final = {200: EVENT_STREAM}

GENERATIONS: Final = (
    Operation("post", _ALL, "create", "generations", "Request an image", _MAKE,
              (400, 401, 403, 408, 413, 415, 422, 503), CreateGeneration, ("Idempotency-Key", "Prefer"), _MADE,
              scope=_WRITE),
    Operation("get", _ALL, "list", "generations", "List generations, newest first", {200: GenerationPage},
              (400, 401, 403, 422, 503, 504), None, (*_FILTERS, "limit", "cursor", "Min-Position"), scope=_READ),
    Operation("get", _ONE, "get", "generations", "Get a generation", {200: GenerationResource, 304: None},
              (400, 401, 403, 404, 409, 422, 503, 504), None, ("at", "Min-Position", "If-None-Match"), ("ETag",),
              scope=_READ),
    Operation("delete", _ONE, "delete", "generations", "Delete a generation",
              {204: None, 202: DeletingGeneration}, (400, 401, 403, 404, 422, 503, 504), None,
              ("Min-Position",), ("Gengui-Position",), scope=_WRITE),
    Operation("post", f"{_ONE}/cancel", "cancel", "generations", "Cancel a generation; safe to repeat",
              {200: CanceledGeneration, 202: CanceledGeneration}, (400, 401, 403, 404, 422, 503, 504), None,
              ("Min-Position",), ("Gengui-Position",), scope=_WRITE),
    Operation("post", f"{_ONE}/retry", "retry", "generations", "Retry an ended generation as a new generation", _MAKE,
              (400, 401, 403, 404, 409, 422, 503, 504), None, ("Idempotency-Key", "Prefer", "Min-Position"), _MADE,
              scope=_WRITE),
    Operation("get", f"{_ONE}/events", "events", "timeline", "The timeline of a generation", {200: EventPage},
              (400, 401, 403, 404, 422, 503, 504), None, ("events_limit", "events_cursor", "Min-Position"),
              scope=_READ),
    Operation("get", f"{_ONE}/stream", "stream", "timeline", "Stream the events of a generation (server-sent events)",
              _EVENTS, (400, 401, 403, 404, 422, 503, 504), None,
              ("Last-Event-ID", "last_event_id", "token", "Min-Position"), auth="token", scope=_READ),
    Operation("get", "/v1/stream", "stream_all", "timeline", "Stream all events of the caller (server-sent events)",
              _EVENTS, (400, 401, 403, 422, 503), None, ("Last-Event-ID", "last_event_id", "token"), auth="token",
              scope=_READ),
    Operation("get", "/v1/account/usage", "usage", "generations", "The limits of the caller, and what is left of them",
              {200: UsageResource}, (400, 401, 403, 422, 503), scope=_READ),
    Operation("post", "/v1/stream-tokens", "create_stream_token", "timeline",
              "Get a token of ten minutes for the query of event streams", {201: StreamTokenResource},
              (400, 401, 403, 422, 503), scope=_READ),
)  # fmt: skip
