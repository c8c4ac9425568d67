"""Refusals as RFC 9457 problem documents: a stable code for programs, a sentence with the remedy for people."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web
from pydantic import ValidationError

from gengui_stream.fault_sentences import placed
from schemas.http import FieldFault, Problem


class Refusal(Exception):
    """Ends a handler with a problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[FieldFault] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.code, self.detail, self.errors, self.headers = status, code, detail, errors, headers
        super().__init__(code)


CONTENT_TYPE: Final = "application/problem+json"


def problem_response(refusal: Refusal) -> web.Response:
    body = _document(refusal)
    return web.Response(body=body, status=refusal.status, content_type=CONTENT_TYPE, headers=refusal.headers)


def problem_bytes(refusal: Refusal, headers: Mapping[str, str]) -> bytes:
    """A whole response, for a connection whose request is not complete."""
    body = _document(refusal)
    status = HTTPStatus(refusal.status)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{lines}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _document(refusal: Refusal) -> bytes:
    problem = Problem(
        type=f"urn:gengui:problem:{refusal.code}",
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        detail=refusal.detail,
        code=refusal.code,
        errors=refusal.errors,
    )
    return orjson.dumps(problem.model_dump(mode="json", exclude_none=True))


def invalid(errors: list[FieldFault], detail: str = "the request is invalid: see errors") -> Refusal:
    return Refusal(422, "invalid_request", detail, errors=errors)


def fault(field: str, message: str) -> FieldFault:
    return FieldFault(field=field, message=message)


def faults_of(error: ValidationError) -> list[FieldFault]:
    """Each fault with its field; values are not repeated."""
    return [fault(place or "body", message) for place, message in placed(error)]


def not_found() -> Refusal:
    return Refusal(404, "not_found", "there is no such generation among yours")
