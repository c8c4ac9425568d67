"""Loaded by Schemathesis: where a request is to be accepted, values that the service alone gives out are real ones. No
schema describes a position that the log has, a cursor, a lease, the key of an uploaded object, or a key that no other
request has used.

`CONFORMANCE_VALUES` names a JSON file with them, and `CONFORMANCE_CALLED` the file to which the operations are written
that were called, each once with valid and once with invalid input.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext

from schemas.openapi import SESSION_COOKIE

Json = dict[str, Any]

VALUES: Final[Json] = json.loads(Path(os.environ["CONFORMANCE_VALUES"]).read_text(encoding="utf-8"))
JOBS: Final[Iterator[Json]] = cycle(VALUES["jobs"] or [{}])
CALLED: Final = Path(os.environ["CONFORMANCE_CALLED"])
NOTED: Final[set[str]] = set()
OUTPUT_MAX: Final = 1_000
NUMBERS: Final = count(VALUES["first_number"])
"""Not those of the runs before, of which the same API still has the keys and names."""

KEY_MAX_CHARACTERS: Final = 255


@schemathesis.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """Not those without the cookie of a session: the command line adds it to every request."""
    described = getattr(case.meta.phase.data, "description", None) if case.meta is not None else None
    return SESSION_COOKIE not in str(described)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: Json) -> None:
    if case.meta is None:
        return
    _note(case, "valid" if case.meta.generation.mode.is_positive else "invalid")
    if not case.meta.generation.mode.is_positive:
        return
    for name in {"Min-Position", "Last-Event-ID"} & case.headers.keys():
        case.headers[name] = VALUES[name]
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"{next(NUMBERS)} {case.headers['Idempotency-Key']}"[:KEY_MAX_CHARACTERS]
    if "at" in case.query:
        case.query["at"] = (
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"  # a position must be one of the generation's own
        )
    case.query.pop("cursor", None)
    for name in {"last_event_id", "token"} & case.query.keys():
        case.query[name] = VALUES[name]
    if isinstance(case.body, dict) and (fill := BODIES.get(case.path.removeprefix(JOB))):
        fill(case.body, case.path_parameters)


def _note(case: Case[Any], kind: str) -> None:
    line = f"{kind} {case.method.upper()} {case.path}"
    if line not in NOTED:
        NOTED.add(line)
        with CALLED.open("a", encoding="utf-8") as file:
            print(line, file=file)


def _create(body: Json, _: Json) -> None:
    """Which providers and models there are is a matter of settings."""
    body.pop("provider", None)
    body.pop("model", None)


def _key(body: Json, _: Json) -> None:
    """Only a moment to come ends a key, and which scopes it may have is a matter of its user."""
    for name in ("expires_at", "scopes"):
        body.pop(name, None)


def _claim(body: Json, _: Json) -> None:
    body["wait_s"] = 0


def _job(body: Json, path_parameters: Json) -> None:
    job = next(JOBS)
    path_parameters["id"], body["lease"] = job["id"], job["lease"]
    if "bytes" in body:
        body["bytes"] = min(body["bytes"], OUTPUT_MAX)
    for output in body.get("event", {}).get("outputs", ()):
        output["object_key"] = job["object_key"]


def _events(body: Json, _: Json) -> None:
    for event in body["events"]:
        job = next(JOBS)
        event["generation_id"] = job["id"]
        for output in event.get("outputs", ()):
            output["object_key"] = job["object_key"]


def _account(body: Json, _: Json) -> None:
    """Each with an address and a name of its own: what is taken is a matter of earlier requests."""
    number = next(NUMBERS)
    for name, value in {"email": f"user{number}@example.com", "user_name": f"user{number}"}.items():
        if name in body:
            body[name] = value
    if "current_password" in body and body["current_password"] == body["new_password"]:
        body["new_password"] += "!"


JOB: Final = "/v1/worker/jobs/{id}"
BODIES: Final[dict[str, Callable[[Json, Json], None]]] = {
    "/v1/generations": _create,
    "/v1/account/preferences": _create,
    "/v1/account/keys": _key,
    "/v1/worker/jobs/claim": _claim,
    "/v1/worker/events": _events,
    **dict.fromkeys(
        (
            *("/v1/auth/signup", "/v1/auth/resend-verification", "/v1/auth/password-reset"),
            *("/v1/account", "/v1/account/email", "/v1/account/password"),
        ),
        _account,
    ),
    **dict.fromkeys(("/heartbeat", "/upload", "/report", "/release"), _job),
}
