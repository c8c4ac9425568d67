"""The parameters of operations, and the headers of their answers, by name."""

from collections.abc import Mapping
from typing import Final, get_args

from schemas.fields import NO_NUL
from schemas.http import StatusName

_text: Final = {"type": "string"}
_plain: Final = {"type": "string", "minLength": 1, "pattern": NO_NUL}
_id: Final = {"type": "string", "format": "uuid"}
_boolean: Final = {"type": "string", "enum": ["true", "false"]}
_position: Final = {"type": "string", "pattern": "^[0-9]{1,5}:[0-9]{1,18}$"}
_positions: Final = {"type": "string", "pattern": "^(beginning|[0-9]{1,5}:[0-9]{1,18}(,[0-9]{1,5}:[0-9]{1,18})*)?$"}
_moment: Final = {"type": "string", "format": "date-time"}
_day: Final = {"type": "string", "format": "date"}

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
    "at": {"in": "query", "description": "with the scope `ops`: the generation of any user as it was, after the"
           " event at this position of the log or at this time",
           "schema": {"type": "string", "maxLength": 40,
                      "anyOf": [{"pattern": _position["pattern"]}, {"format": "date-time"}]}},
    "Min-Position": {"in": "header", "description": "wait until the projections have this `Gengui-Position`",
                     "schema": _position},
    "Idempotency-Key": {"in": "header", "description": "requests with the same key and body return the same generation",
                        "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"}},
    "If-None-Match": {"in": "header", "description": "the `ETag` of an earlier response: 304 if nothing has changed",
                      "schema": _text},
    "Prefer": {"in": "header", "description": "`wait=n`: respond once it has ended, or after n seconds (at most 60)",
               "schema": _text},
    "search": {"in": "query", "description": "a part of the e-mail address or the user name, ignoring case",
               "schema": {**_plain, "maxLength": 200}},
    "role": {"in": "query", "schema": {"type": "string", "enum": ["user", "worker", "admin"]}},
    "email_verified": {"in": "query", "schema": _boolean},
    "statistics": {"in": "query", "description": "with counts of generations", "schema": _boolean},
    "type": {"in": "query", "schema": {"type": "string", "pattern": "^[a-z0-9_.]{1,100}$"}},
    "actor_id": {"in": "query", "description": "the user that acted", "schema": _id},
    "subject_id": {"in": "query", "description": "the user that it was done to", "schema": _id},
    "occurred_after": {"in": "query", "description": "inclusive", "schema": _moment},
    "occurred_before": {"in": "query", "description": "exclusive", "schema": _moment},
    "since": {"in": "query", "description": "the first day (UTC)", "schema": _day},
    "until": {"in": "query", "description": "the last day (UTC)", "schema": _day},
    "audit_cursor": {"name": "cursor", "in": "query", "description": "next_cursor of the previous page, unchanged",
                     "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
    "key_id": {"in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{8}$"}},
    "webhook_provider": {"name": "provider", "in": "path", "required": True, "schema": _text},
    "webhook_token": {"name": "token", "in": "path", "required": True, "schema": _text},
    "Last-Event-ID": {"in": "header", "description": "continue after this event; browsers send it automatically",
                      "schema": _positions},
    "last_event_id": {"in": "query", "description": "the same, for a new EventSource; the header takes precedence",
                      "schema": _positions},
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
    "RateLimit": {
        "description": "by policy: what remains (`r`), and the seconds until all of it is available (`t`)",
        "schema": _text,
    },
    "RateLimit-Policy": {"description": "the policies: quota (`q`) and window in seconds (`w`)", "schema": _text},
    "Retry-After": {"description": "seconds after which a request is not refused", "schema": {"type": "integer"}},
    "Preference-Applied": {"description": "the applied `wait` preference", "schema": _text},
}
