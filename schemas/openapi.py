"""The OpenAPI 3.1 document, generated from the models and the table `schemas.operations`."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.http import Problem
from schemas.operations import ANSWER_HEADERS, OPERATIONS, PARAMETERS, Answer, Operation
from schemas.problem_codes import described

TITLE: Final = "GenGui Stream"
DESCRIPTION: Final = """Request images and follow them until they have ended.

Every refusal is a problem document (RFC 9457) with a stable `code`. A response that changed something has its position
in the log in `Gengui-Position`; a request with that value as `Min-Position` reads its own writes."""


def openapi_document(server: str = "/") -> dict[str, object]:
    """`server`: the URL of the API, without a trailing slash; `/`: the host that serves the document."""
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1", "description": DESCRIPTION},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key, gg_..."}},
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
    return schemas["$defs"]


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
    if operation.secured:
        described["security"] = [{"key": []}, {}] if operation.by_token else [{"key": []}]
    return described


def _responses(operation: Operation) -> Mapping[str, object]:
    answers = {str(status): _answer(operation, answer) for status, answer in operation.answers.items()}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals = {
        str(status): {"description": described(operation, status), "content": problem} for status in operation.refusals
    }
    return {**answers, **refusals}


def _answer(operation: Operation, answer: Answer) -> dict[str, object]:
    described: dict[str, object] = {"description": operation.summary}
    if answer is not None:
        described["content"] = _content(answer)
    if operation.headers:
        described["headers"] = {name: ANSWER_HEADERS[name] for name in operation.headers}
    return described


def _content(answer: type[BaseModel] | str) -> dict[str, object]:
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "object" if answer == "application/json" else "string"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}}
