"""A client of the API with one key. Every response is validated against the published OpenAPI document."""

import asyncio
import io
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from openapi_schema_validator import OAS31Validator

from gengui_stream.accounts.keys.key_text import key_id_of
from gengui_stream.identifiers import new_id
from schemas.events import GenerationCompleted, GenerationFailed, GenerationStarted, Output, ThumbnailCreated
from schemas.http import EventResource, Problem
from schemas.openapi import openapi_document
from tests.integration.running import DEADLINE_S

Json = dict[str, Any]

DOCUMENT: Final[Json] = json.loads(json.dumps(openapi_document()))


class Client:
    """Calls answer with status, headers and body."""

    def __init__(self, session: aiohttp.ClientSession, base: str, key: str) -> None:
        self.session, self.base, self.key = session, base, key

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | io.BytesIO | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], Json]:
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        async with self.session.request(method, self.base + path, json=json, data=data, headers=sent) as answer:
            body = await answer.read()
            found = json_of(body)
            check_documented(method, path, answer.status, answer.content_type, found)
            return answer.status, answer.headers.copy(), found

    async def get(self, path: str, **headers: str) -> Json:
        """The body of what must be a 200. `Min_Position` is `Min-Position`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, found = await self.call("GET", path, headers=sent)
        assert status == 200, found
        return found

    async def pages(self, path: str, limit: int) -> AsyncIterator[Json]:
        """All pages, up to the one without a cursor."""
        cursor, separator = "", "&" if "?" in path else "?"
        while True:
            page = await self.get(f"{path}{separator}limit={limit}{cursor}")
            yield page
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"

    async def create(self, **body: object) -> tuple[str, str]:
        """The new generation's id, and its position in the log."""
        status, headers, found = await self.call("POST", "/v1/generations", json={"prompt": "a fox", **body})
        assert status == 202, found
        return str(found["id"]), headers["Gengui-Position"]

    async def created(self, **body: object) -> str:
        """The id of a new generation that can be read already."""
        generation_id, position = await self.create(**body)
        await self.get(f"/v1/generations/{generation_id}", Min_Position=position)
        return generation_id

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None = None) -> AsyncIterator["Stream"]:
        sent = {"Authorization": f"Bearer {self.key}"}
        if last_event_id is not None:
            sent["Last-Event-ID"] = last_event_id
        async with self.session.get(self.base + path, headers=sent) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            yield Stream(answer)


def key_id(key: str) -> str:
    """The public part of a key."""
    found = key_id_of(key)
    assert found is not None
    return found


def json_of(body: bytes) -> Json:
    if not body.startswith(b"{"):
        return {}
    found: Json = json.loads(body)
    return found


def check_documented(method: str, path: str, status: int, content_type: str, body: Json) -> None:
    """The document has this status for this operation, and the body is as it says."""
    if status >= 400:
        assert content_type == ("application/problem+json" if path != "/readyz" else "application/json")
    operation = _operation(method, path.partition("?")[0])
    if operation is None:
        Problem.model_validate(body)
        return
    assert str(status) in operation["responses"], f"{method} {path}: {status} is not documented"
    content = operation["responses"][str(status)].get("content", {})
    assert content_type in content or not content
    if content_type.endswith("json") and method != "HEAD":
        schema = {**content[content_type]["schema"], "components": DOCUMENT["components"]}
        OAS31Validator(schema).validate(body)


def _operation(method: str, path: str) -> Json | None:
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: Json | None = operations.get(method.lower() if method != "HEAD" else "get")
            return found
    return None


@dataclass
class Message:
    """One message of a stream; `comment` is what a keep-alive says."""

    id: str = ""
    event: str = ""
    data: str = ""
    comment: str = ""

    @property
    def position(self) -> str:
        return EventResource.model_validate_json(self.data).position


@dataclass
class Stream:
    """Messages as they come."""

    answer: aiohttp.ClientResponse
    seen: list[Message] = field(default_factory=list)

    async def next(self, within_s: float = DEADLINE_S) -> Message | None:
        """The next message, comments too; None at the end."""
        message = Message()
        async with asyncio.timeout(within_s):
            async for line in self.answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                match name:
                    case "id" | "event" | "data":
                        setattr(message, name, value)
                    case "" if value:
                        message.comment = value
                    case "":
                        self.seen.append(message)
                        return message
        return None

    async def events(self, count: int) -> list[Message]:
        """So many events, without what is none; fewer when the stream ends."""
        found: list[Message] = []
        while len(found) < count and (message := await self.next()) is not None:
            if message.event:
                found.append(message)
        return found

    async def rest(self) -> list[Message]:
        """Every event until the server ends the stream."""
        return await self.events(10_000)


def started(generation_id: str) -> GenerationStarted:
    return GenerationStarted(
        id=new_id(),
        generation_id=uuid.UUID(generation_id),
        attempt=1,
        occurred_at=datetime.now(UTC),
        producer="test",
    )


def completed(generation_id: str) -> GenerationCompleted:
    return GenerationCompleted(
        id=new_id(),
        generation_id=uuid.UUID(generation_id),
        occurred_at=datetime.now(UTC),
        producer="test",
        outputs=(Output(object_key="users/a/media/b.png"),),
    )


def failed(generation_id: str) -> GenerationFailed:
    return GenerationFailed.model_validate(
        {
            "id": new_id(),
            "generation_id": generation_id,
            "occurred_at": datetime.now(UTC),
            "producer": "test",
            "error": {"code": "out_of_memory", "message": "no memory", "retryable": False},
        }
    )


def thumbnail(generation_id: str) -> ThumbnailCreated:
    return ThumbnailCreated(
        id=new_id(),
        generation_id=uuid.UUID(generation_id),
        occurred_at=datetime.now(UTC),
        producer="test",
        object_key="t.webp",
        mime_type="image/webp",
        width=1,
        height=1,
        bytes=1,
    )
