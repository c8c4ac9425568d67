"""A server with Gemini's HTTP API: `generateContent` and the models, under /v1beta.

Requests have no id in this API. A client distinguishes its generations by `X-Request-ID: {generation id}` or
`{generation id}/{attempt}`; without it, the prompt does. The work for a request continues after its client has
disconnected, as at the provider: until it is done, or until `X-Server-Timeout` seconds have passed.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiohttp import web

from gengui_stream.fakes.behaviours import Error
from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.gemini.bodies import (
    GenerateContent,
    InvalidArgument,
    error_body,
    images_body,
    no_images_body,
    not_an_image_body,
    prompt_of,
    read_request,
)
from gengui_stream.fakes.gemini.script import GeminiBehaviour, GeminiScript, Images, NoImages, NotAnImage
from gengui_stream.fakes.pictures import ImageType, Picture, drawn
from gengui_stream.fakes.rules import Request
from gengui_stream.fakes.scripts import parse_script
from gengui_stream.fakes.server import Exchange, FakeServer, json_response, read_json, retry_after, served

_REQUEST_ID: Final = re.compile(r"^([0-9a-fA-F-]{36})(?:[^0-9a-zA-Z](\d{1,4}))?$")

_NO_KEY: Final = Error(
    status=403,
    word="PERMISSION_DENIED",
    message="Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity.",
)
_WRONG_KEY: Final = Error(
    status=400,
    word="INVALID_ARGUMENT",
    reason="API_KEY_INVALID",
    message="API key not valid. Please pass a valid API key.",
)


class GeminiServer(FakeServer[GeminiBehaviour]):
    """`key`: the only valid API key; None: any."""

    script: GeminiScript

    def __init__(self, script: GeminiScript, *, seed: int, key: str | None, runs: Runs | None) -> None:
        super().__init__(script, seed, runs)
        self._key = key

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post(r"/v1beta/models/{model:[^/:]+}:generateContent", self._generate),
            web.get(r"/v1beta/models/{model:[^/:]+}", self._model),
        ]

    def read_script(self, text: bytes) -> GeminiScript:
        return parse_script(GeminiScript, text)

    def error(self, error: Error) -> web.Response:
        headers = retry_after(error)
        if error.body is not None:
            return web.Response(text=error.body, status=error.status, headers=headers)
        return json_response(error_body(error), error.status, headers)

    async def _generate(self, http: web.Request) -> web.StreamResponse:
        body = await read_json(http)
        request = _request("generate", http, prompt_of(body))
        run = self.runs.begin(request.generation)
        exchange = Exchange[GeminiBehaviour](
            http=http,
            request=request,
            body=body,
            usual=partial(self._generated, http, body),
            timeout_s=_server_timeout_s(http),
            run=run,
        )
        try:
            return await self.answer(exchange)
        finally:
            run.end()

    async def _model(self, http: web.Request) -> web.StreamResponse:
        request = _request("model", http, "")
        usual = partial(self._described, http)
        return await self.answer(Exchange[GeminiBehaviour](http=http, request=request, body=None, usual=usual))

    async def _generated(self, http: web.Request, body: object, how: GeminiBehaviour | None) -> web.Response:
        refusal = self._refusal(http)
        if refusal is not None:
            return self.error(refusal)
        try:
            request = read_request(body)
        except InvalidArgument as error:
            return self.error(Error(status=400, word="INVALID_ARGUMENT", message=str(error)))
        return json_response(await self._answer(request, how, http.match_info["model"]))

    async def _answer(self, request: GenerateContent, how: GeminiBehaviour | None, model: str) -> dict[str, object]:
        match how:
            case NoImages():
                return no_images_body(how, await self._drawn(request, how.drafts, first=100), model)
            case NotAnImage():
                return not_an_image_body(how, (await self._drawn(request, 1))[0], model)
            case _:
                images = how if isinstance(how, Images) else Images()
                drafts = await self._drawn(request, images.drafts, first=100)
                pictures = await self._drawn(request, images.count, mime_type=images.mime_type)
                return images_body(images, drafts, pictures, model)

    async def _drawn(
        self, request: GenerateContent, count: int, *, first: int = 0, mime_type: ImageType = "image/png"
    ) -> list[Picture]:
        side_max = self.script.image_side_max
        return [await drawn(request.sketch(first + number), side_max, mime_type) for number in range(count)]

    async def _described(self, http: web.Request, how: GeminiBehaviour | None) -> web.Response:
        refusal = self._refusal(http)
        if refusal is not None:
            return self.error(refusal)
        model = http.match_info["model"]
        methods = {"supportedGenerationMethods": ["generateContent", "countTokens"]}
        return json_response({"name": f"models/{model}", "version": "001", "displayName": model, **methods})

    def _refusal(self, http: web.Request) -> Error | None:
        """Checks the key, then the model."""
        key, model = http.headers.get("x-goog-api-key"), http.match_info["model"]
        if not key:
            return _NO_KEY
        if self._key is not None and key != self._key:
            return _WRONG_KEY
        if model not in self.script.models:
            message = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
            return Error(status=404, word="NOT_FOUND", message=message)
        return None


@asynccontextmanager
async def fake_gemini(
    script: GeminiScript | None = None,
    *,
    seed: int = 0,
    key: str | None = None,
    runs: Runs | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[GeminiServer]:
    """Serves until the context ends. `server.url`: the base URL without /v1beta. `runs` may be shared with another
    server."""
    server = GeminiServer(script or GeminiScript(), seed=seed, key=key, runs=runs)
    async with served(server, host, port):
        yield server


def _request(operation: str, http: web.Request, prompt: str) -> Request:
    named = _REQUEST_ID.match(http.headers.get("X-Request-ID", ""))
    if named is None:
        return Request(operation=operation, generation=prompt, prompt=prompt)
    attempt = int(named[2]) if named[2] else None
    return Request(operation=operation, generation=named[1].lower(), prompt=prompt, attempt=attempt)


def _server_timeout_s(http: web.Request) -> float | None:
    try:
        return float(http.headers.get("X-Server-Timeout", ""))
    except ValueError:
        return None
