"""Every `code` of a problem document, with its status and its remedy, and the operations that answer with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.operations.operation import Operation


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """`applies`: whether an operation whose refusals have this status may answer with it."""

    status: int
    code: str
    remedy: str
    applies: Callable[[Operation], bool]


def _everywhere(_: Operation) -> bool:
    return True


def _nowhere(_: Operation) -> bool:
    """Before a route is selected."""
    return False


def _with_body(operation: Operation) -> bool:
    return operation.body is not None


def _with_any_body(operation: Operation) -> bool:
    return operation.body is not None or operation.tag == "providers"


def _with_key(operation: Operation) -> bool:
    return operation.auth != "none"


def _with_position(operation: Operation) -> bool:
    return not {"Min-Position", "Last-Event-ID"}.isdisjoint(operation.parameters)


def _with_parameter(name: str) -> Callable[[Operation], bool]:
    return lambda operation: name in operation.parameters


def _under(*prefixes: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.path.startswith(prefixes)


def _limited(operation: Operation) -> bool:
    return operation.limited


def _makes(operation: Operation) -> bool:
    return operation.name in {"create", "retry"}


def _named(*names: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.name in names


def _scoped(operation: Operation) -> bool:
    return operation.auth in {"key", "token"}


def _by_session(operation: Operation) -> bool:
    return operation.auth == "session"


def _from_pages(operation: Operation) -> bool:
    """What a page of another origin must not do with the cookie."""
    changes = operation.method not in {"get", "head"}
    return changes and (operation.auth != "none" or operation.path.startswith("/v1/auth/"))


_JOB: Final = "/v1/worker/jobs/{id}"
_HASHING: Final = (
    *("sign_up", "log_in", "reset_password"),
    *("rename_account", "change_password", "change_email", "delete_account"),
)
_MAILED_TOKENS: Final = ("verify_email", "reset_password", "confirm_email")
_WITH_PASSWORD: Final = ("rename_account", "change_password", "change_email", "delete_account")

PROBLEM_CODES: Final = (
    ProblemCode(400, "malformed_request", "send valid HTTP", _nowhere),
    ProblemCode(400, "malformed_json", "send JSON in UTF-8", _with_body),
    ProblemCode(400, "malformed_body", "send the whole body, as its headers describe it", _with_any_body),
    ProblemCode(400, "invalid_host", "send a Host that is a name or an address, with a port if any", _with_key),
    ProblemCode(400, "repeated_header", "send each header once", _with_key),
    ProblemCode(400, "invalid_forwarded_for", "send no X-Forwarded-For: the proxies write it", _limited),
    ProblemCode(401, "unauthorized", "send a valid key, or log in", _with_key),
    ProblemCode(401, "invalid_credentials", "send the right login and password, or reset the password",
                _named("log_in")),
    ProblemCode(403, "forbidden", "use a key with the scope that `detail` names", _scoped),
    ProblemCode(403, "cross_origin", "let an operator add the origin to CORS_ALLOWED_ORIGINS", _from_pages),
    ProblemCode(403, "session_required", "log in, and send the cookie without a key", _by_session),
    ProblemCode(403, "sign_up_closed", "let an operator create the account", _named("sign_up")),
    ProblemCode(403, "email_not_verified", "follow the link in the e-mail", _named("create", "retry", "create_key")),
    ProblemCode(403, "wrong_password", "send the current password of the account", _named(*_WITH_PASSWORD)),
    ProblemCode(404, "not_found", "use an id of your own",
                _under("/v1/generations", "/v1/provider-webhooks", "/v1/account", "/v1/admin/users/")),
    ProblemCode(404, "unknown_job", "claim a job, and use its id", _under(_JOB)),
    ProblemCode(404, "unknown_generation", "report only on generations that exist", _named("report")),
    ProblemCode(405, "method_not_allowed", "use a method that `Allow` names", _nowhere),
    ProblemCode(408, "request_timeout", "send headers and body without a pause", _with_any_body),
    ProblemCode(409, "not_being_deleted", "nothing: the account stays", _named("restore_account")),
    ProblemCode(409, "not_ended", "wait for its end, or cancel it", _named("retry")),
    ProblemCode(409, "history_incomplete", "ask for the generation without `at`", _with_parameter("at")),
    ProblemCode(409, "lease_lost", "stop working on this job, and claim another one", _under(_JOB)),
    ProblemCode(409, "job_ended", "stop working on this job, and claim another one", _under(_JOB)),
    ProblemCode(409, "lease_of_another_key", "use the key that claimed the job, or claim another one", _under(_JOB)),
    ProblemCode(409, "too_many_keys", "revoke a key first", _named("create_key")),
    ProblemCode(409, "user_name_taken", "choose another user name", _named("sign_up", "rename_account")),
    ProblemCode(413, "body_too_large", "send a smaller body; `detail` has the limit", _with_any_body),
    ProblemCode(414, "target_too_long", "send a shorter path or query", _nowhere),
    ProblemCode(415, "unsupported_media_type", "send application/json", _with_body),
    ProblemCode(415, "unsupported_encoding", "send no Content-Encoding but one of `Accept-Encoding`", _with_any_body),
    ProblemCode(417, "expectation_failed", "send no Expect header but 100-continue", _nowhere),
    ProblemCode(422, "invalid_request", "correct the fields in `errors`", _everywhere),
    ProblemCode(422, "idempotency_key_reused", "use a new key for another body", _with_parameter("Idempotency-Key")),
    ProblemCode(422, "object_missing", "upload the object, then report it", _named("job_report", "report")),
    ProblemCode(422, "foreign_object_key", "report objects of the generation's owner", _named("report")),
    ProblemCode(422, "lease_of_another_key", "report with the key that claimed the job", _named("report")),
    ProblemCode(422, "invalid_event", "correct the events in `errors`", _named("report")),
    ProblemCode(422, "events_refused", "correct the events in `errors`", _named("report")),
    ProblemCode(422, "position_beyond_log", "send a position that this service returned, or none", _with_position),
    ProblemCode(422, "invalid_token", "request another e-mail: each link works once, for some hours",
                _named(*_MAILED_TOKENS)),
    ProblemCode(429, "login_locked", "repeat after `Retry-After`", _named("log_in", *_WITH_PASSWORD)),
    ProblemCode(429, "rate_limited", "repeat after `Retry-After`; `detail` names the policy", _everywhere),
    ProblemCode(429, "quota_exceeded", "repeat after `Retry-After`: the quota begins again at 00:00 UTC", _makes),
    ProblemCode(429, "too_many_in_progress", "wait until generations have ended, or cancel some", _makes),
    ProblemCode(429, "too_many_streams", "close event streams", _named("stream", "stream_all")),
    ProblemCode(431, "headers_too_large", "send fewer or shorter headers", _nowhere),
    ProblemCode(500, "internal", "report the id of the request, `X-Request-ID`", _nowhere),
    ProblemCode(503, "unavailable", "repeat after `Retry-After`, with the same Idempotency-Key", _everywhere),
    ProblemCode(503, "busy", "repeat after `Retry-After`", _named(*_HASHING)),
    ProblemCode(503, "starting", "repeat after `Retry-After`", _everywhere),
    ProblemCode(504, "projection_behind", "repeat after `Retry-After`", _everywhere),
)  # fmt: skip


def described(operation: Operation, status: int) -> str:
    """The codes with which this operation answers, and their remedies."""
    found = [known for known in PROBLEM_CODES if known.status == status and known.applies(operation)]
    return "; ".join(f"`{known.code}`: {known.remedy}" for known in found)
