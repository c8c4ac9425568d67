"""The OpenAPI 3.1 document, generated from the models and the table `schemas.operations.table`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.http import Problem
from schemas.operations.operation import EVENT_STREAM, Answer, Auth, Operation
from schemas.operations.parameters import ANSWER_HEADERS, PARAMETERS
from schemas.operations.table import OPERATIONS
from schemas.problem_codes import described

STREAM_MESSAGE: Final = {
    "title": "StreamMessage",
    "description": "One message of an event stream, with its lines as fields. `data` of `end` is empty, that of"
    " `pruned` has the moment before which events were removed, and that of any other is the event.",
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "for `Last-Event-ID`"},
        "event": {"type": "string", "description": "the type of the event, or `end`, or `pruned`"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/EventResource"},
                    {
                        "type": "object",
                        "properties": {"pruned_before": {"type": "string"}},
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
}
"""OpenAPI before 3.2 has no word for the items of a stream: tools take the schema of its content for that of each."""

METRICS_PATH: Final = "/metrics"
SESSION_COOKIE: Final = "__Host-gengui-session"
SECURITY: Final[Mapping[Auth, Sequence[str | None]]] = {
    "none": (),
    "key": ("key", "session"),
    "token": ("key", "session", None),
    "session": ("session",),
}
"""The security schemes of each way of authentication; the stream token is a parameter there."""

RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Policy")
WITH_RETRY_AFTER: Final = frozenset((429, 503, 504))

TITLE: Final = "GenGui Stream"
DESCRIPTION: Final = """Request images and follow them until they have ended.

Every refusal is a problem document (RFC 9457) with a stable `code`. A response that changed something has its position
in the log in `Gengui-Position`; a request with that value as `Min-Position` reads its own writes."""


def openapi_document(server: str = "/", *, without: Collection[str] = ()) -> dict[str, object]:
    """`server`: the URL of the API, without a trailing slash; `/`: the host that serves the document. `without`: paths
    that it does not serve."""
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        if operation.path not in without:
            paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1", "description": DESCRIPTION},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "an API key, gg_live_..."},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "of a log-in"},
            },
        },
    }


def _schemas() -> object:
    bodies = {operation.body for operation in OPERATIONS if operation.body}
    models: set[type[BaseModel]] = {Problem, *bodies}
    for operation in OPERATIONS:
        models.update(answer for answer in operation.answers.values() if isinstance(answer, type))
    named = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation" if model in bodies else "serialization") for model in named],
        ref_template="#/components/schemas/{model}",
    )
    return {**schemas["$defs"], "StreamMessage": STREAM_MESSAGE}


def _operation(operation: Operation) -> dict[str, object]:
    described: dict[str, object] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
    }
    names = ["id", *operation.parameters] if "{id}" in operation.path else operation.parameters
    if names:
        described["parameters"] = [{"name": name, **PARAMETERS[name]} for name in names]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.auth != "none":
        scopes = [operation.scope] if operation.scope else []
        described["security"] = [{name: scopes} if name else {} for name in SECURITY[operation.auth]]
    return described


def _responses(operation: Operation) -> Mapping[str, object]:
    answers = {str(status): _answer(operation, answer) for status, answer in operation.answers.items()}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals = {
        str(status): {"description": described(operation, status), "content": problem, **_headers(operation, status)}
        for status in sorted({*operation.refusals, *([429] if operation.limited else [])})
    }
    return {**answers, **refusals}


def _headers(operation: Operation, status: int) -> Mapping[str, object]:
    names = [
        *(RATE_LIMIT_HEADERS if operation.limited else ()),
        *(["Retry-After"] if status in WITH_RETRY_AFTER else []),
    ]
    return {"headers": {name: ANSWER_HEADERS[name] for name in names}} if names else {}


def _answer(operation: Operation, answer: Answer) -> dict[str, object]:
    described: dict[str, object] = {"description": operation.summary}
    if answer is not None:
        described["content"] = _content(answer)
    names = [*operation.headers, *(RATE_LIMIT_HEADERS if operation.limited else ())]
    if names:
        described["headers"] = {name: ANSWER_HEADERS[name] for name in names}
    return described


def _content(answer: type[BaseModel] | str) -> dict[str, object]:
    if answer == EVENT_STREAM:
        return {answer: {"schema": {"$ref": "#/components/schemas/StreamMessage"}}}
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "object" if answer == "application/json" else "string"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}}
