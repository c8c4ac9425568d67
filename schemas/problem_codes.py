"""Every `code` of a problem document, with its status and its remedy, and the operations that answer with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.operations import Operation


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
    return operation.secured


def _with_position(operation: Operation) -> bool:
    return not {"Min-Position", "Last-Event-ID"}.isdisjoint(operation.parameters)


def _with_parameter(name: str) -> Callable[[Operation], bool]:
    return lambda operation: name in operation.parameters


def _under(*prefixes: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.path.startswith(prefixes)


def _named(*names: str) -> Callable[[Operation], bool]:
    return lambda operation: operation.name in names


_JOB: Final = "/v1/worker/jobs/{id}"

PROBLEM_CODES: Final = (
    ProblemCode(400, "malformed_request", "send valid HTTP", _nowhere),
    ProblemCode(400, "malformed_json", "send JSON in UTF-8", _with_body),
    ProblemCode(400, "malformed_body", "send the whole body, as its headers describe it", _with_any_body),
    ProblemCode(400, "invalid_host", "send a Host that is a name or an address, with a port if any", _with_key),
    ProblemCode(401, "unauthorized", "send a valid key", _everywhere),
    ProblemCode(403, "forbidden", "use a key of another role", _everywhere),
    ProblemCode(404, "not_found", "use an id of your own", _under("/v1/generations", "/v1/provider-webhooks")),
    ProblemCode(404, "unknown_job", "claim a job, and use its id", _under(_JOB)),
    ProblemCode(404, "unknown_generation", "report only on generations that exist", _named("report")),
    ProblemCode(405, "method_not_allowed", "use a method that `Allow` names", _nowhere),
    ProblemCode(408, "request_timeout", "send headers and body without a pause", _with_any_body),
    ProblemCode(409, "not_ended", "wait for its end, or cancel it", _named("retry")),
    ProblemCode(409, "lease_lost", "stop working on this job, and claim another one", _under(_JOB)),
    ProblemCode(409, "job_ended", "stop working on this job, and claim another one", _under(_JOB)),
    ProblemCode(413, "body_too_large", "send a smaller body; `detail` has the limit", _with_any_body),
    ProblemCode(414, "target_too_long", "send a shorter path or query", _nowhere),
    ProblemCode(415, "unsupported_media_type", "send application/json", _with_body),
    ProblemCode(415, "unsupported_encoding", "send no Content-Encoding but one of `Accept-Encoding`", _with_any_body),
    ProblemCode(417, "expectation_failed", "send no Expect header but 100-continue", _nowhere),
    ProblemCode(422, "invalid_request", "correct the fields in `errors`", _everywhere),
    ProblemCode(422, "idempotency_key_reused", "use a new key for another body", _with_parameter("Idempotency-Key")),
    ProblemCode(422, "object_missing", "upload the object, then report it", _named("job_report", "report")),
    ProblemCode(422, "foreign_object_key", "report objects of the generation's owner", _named("report")),
    ProblemCode(422, "invalid_event", "correct the events in `errors`", _named("report")),
    ProblemCode(422, "events_refused", "correct the events in `errors`", _named("report")),
    ProblemCode(422, "position_beyond_log", "send a position that this service returned, or none", _with_position),
    ProblemCode(431, "headers_too_large", "send fewer or shorter headers", _nowhere),
    ProblemCode(500, "internal", "report the id of the request, `X-Request-ID`", _nowhere),
    ProblemCode(503, "unavailable", "repeat after `Retry-After`, with the same Idempotency-Key", _everywhere),
    ProblemCode(503, "starting", "repeat after `Retry-After`", _everywhere),
    ProblemCode(504, "projection_behind", "repeat after `Retry-After`", _everywhere),
)


def described(operation: Operation, status: int) -> str:
    """The codes with which this operation answers, and their remedies."""
    found = [known for known in PROBLEM_CODES if known.status == status and known.applies(operation)]
    return "; ".join(f"`{known.code}`: {known.remedy}" for known in found)
