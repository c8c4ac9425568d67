"""The OpenAPI 3.1 document, from the models and one table of operations."""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.http import CanceledGeneration, CreateGeneration, EventPage, GenerationPage, GenerationResource, Problem
from schemas.worker import WorkerEventOutcomes

TITLE: Final = "GenGui Stream"


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `answer` None: no JSON body. `refusals`: the statuses of its problem documents."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None = None
    status: int = 200
    body: type[BaseModel] | None = None
    refusals: tuple[int, ...] = (401, 404, 503)
    parameters: tuple[str, ...] = ()
    secured: bool = True


_ONE: Final = "/v1/generations/{id}"

OPERATIONS: Final = (
    Operation("post", "/v1/generations", "Ask for an image", GenerationResource, 202, CreateGeneration,
              (400, 401, 403, 413, 415, 422, 503), ("header:Idempotency-Key", "header:Prefer")),
    Operation("get", "/v1/generations", "List, newest first", GenerationPage, refusals=(401, 422, 503, 504),
              parameters=("query:status", "query:provider", "query:q", "query:created_after", "query:created_before",
                          "query:limit", "query:cursor", "header:Min-Position")),
    Operation("get", _ONE, "One generation", GenerationResource, refusals=(401, 404, 422, 503, 504),
              parameters=("header:Min-Position",)),
    Operation("delete", _ONE, "Delete it", None, 204),
    Operation("post", f"{_ONE}/cancel", "Cancel it; safe to repeat", CanceledGeneration),
    Operation("post", f"{_ONE}/retry", "A new one like it", GenerationResource, 202, refusals=(401, 404, 409, 503)),
    Operation("get", f"{_ONE}/events", "Its history as recorded", EventPage,
              parameters=("query:limit", "query:cursor", "header:Min-Position")),
    Operation("get", f"{_ONE}/stream", "Its events as they come (SSE)", parameters=("header:Last-Event-ID",)),
    Operation("get", "/v1/stream", "All your events as they come (SSE)", parameters=("header:Last-Event-ID",)),
    Operation("post", "/v1/worker/events", "Report statuses, as a worker", WorkerEventOutcomes,
              refusals=(400, 401, 403, 413, 415, 422, 503)),
    Operation("get", "/livez", "Whether the process lives", secured=False, refusals=()),
    Operation("get", "/readyz", "Whether it can serve", secured=False, refusals=(503,)),
    Operation("get", "/metrics", "Prometheus metrics", secured=False, refusals=()),
    Operation("get", "/openapi.json", "This document", secured=False, refusals=()),
    Operation("get", "/docs", "A page to try it", secured=False, refusals=()),
)  # fmt: skip


def openapi_document() -> dict[str, object]:
    models = {op.answer for op in OPERATIONS} | {op.body for op in OPERATIONS} | {Problem}
    named = sorted((model for model in models if model is not None), key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization" if model is not CreateGeneration else "validation") for model in named],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1", "description": "Ask for images and follow them to the end."},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key, gg_..."}},
        },
    }


def _operation(operation: Operation) -> dict[str, object]:
    described: dict[str, object] = {"summary": operation.summary, "responses": _responses(operation)}
    parameters = [_parameter(*name.split(":")) for name in operation.parameters]
    if "{id}" in operation.path:
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    if operation.secured:
        described["security"] = [{"key": []}]
    return described


def _responses(operation: Operation) -> dict[str, object]:
    answer: dict[str, object] = {"description": operation.summary}
    if operation.answer is not None:
        answer["content"] = _json(operation.answer)
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    refusals = {
        str(status): {"description": "a problem document", "content": {"application/problem+json": problem}}
        for status in operation.refusals
    }
    return {str(operation.status): answer, **refusals}


def _json(model: type[BaseModel]) -> dict[str, object]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _parameter(place: str, name: str) -> dict[str, object]:
    return {"name": name, "in": place, "required": False, "schema": {"type": "string"}}
