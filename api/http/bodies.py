"""Request bodies: received within a time limit, decompressed within a size limit, and parsed as strict JSON."""

import asyncio
import zlib
from typing import Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel

from api.http.json_sizes import largest_json
from api.http.parsing import Query, parse
from api.http.problems import Refusal, fault, invalid
from api.http.repeated_keys import repeated_keys

ENCODINGS: Final = "gzip, deflate"
RECEIVE_TIMEOUT_S: Final = web.AppKey("receive_timeout_s", float)

_DEFLATE_METHOD: Final = 8
_CLOSE: Final = {"Connection": "close"}


Body = TypeVar("Body", bound=BaseModel)


async def read_model(request: web.Request, model: type[Body]) -> Body:
    """The body of an operation without parameters. Raises the refusals of `read_json`, and a 422 refusal that names
    each invalid field."""
    Query(request).check()
    return parse(model, await read_json(request, largest_json(model)))


async def read_json(request: web.Request, max_bytes: int) -> object:
    """The body as JSON. Raises refusals for another content type or encoding (415), too large a body (413), one that
    comes too slowly (408), invalid JSON (400), and names that an object has more than once (422)."""
    if request.content_type != "application/json":
        raise Refusal(415, "unsupported_media_type", "send application/json")
    body = await read_body(request, max_bytes)
    try:
        document = orjson.loads(body)
        repeated = repeated_keys(body.decode())
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise Refusal(400, "malformed_json", f"the body is not JSON: {error}") from None
    if repeated:
        raise invalid([fault(path, "given more than once") for path in repeated])
    return document


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, decompressed; the limit applies to the result, too."""
    encoding = _encoding(request)
    received = await _received(request, max_bytes)
    return received if encoding is None else decompressed(received, encoding, max_bytes)


def _encoding(request: web.Request) -> str | None:
    encoding = ",".join(request.headers.getall("Content-Encoding", [])).strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        detail = f"send the body without a Content-Encoding, or with one of: {ENCODINGS}"
        raise Refusal(415, "unsupported_encoding", detail, headers={"Accept-Encoding": ENCODINGS, **_CLOSE})
    return encoding


async def _received(request: web.Request, max_bytes: int) -> bytes:
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    timeout_s = request.app[RECEIVE_TIMEOUT_S]
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise Refusal(408, "request_timeout", f"a body must arrive within {timeout_s:g} s", headers=_CLOSE) from None
    except web.RequestPayloadError:
        raise _malformed("the body does not match its headers") from None
    return bytes(body)


def decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Exactly one compressed stream. Raises a refusal for one that ends too soon, is followed by other bytes, or has
    more than `max_bytes` of content, of which no more is decompressed."""
    if encoding != "deflate":
        window = zlib.MAX_WBITS | 16
    else:  # some clients send it without the header of zlib
        window = zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == _DEFLATE_METHOD else -zlib.MAX_WBITS
    stream = zlib.decompressobj(window)
    try:
        content = stream.decompress(body, max_bytes + 1)
    except zlib.error:
        raise _malformed(f"the body is not {encoding}, as its Content-Encoding says") from None
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    if not stream.eof:
        raise _malformed("the compressed body ends too soon")
    if stream.unused_data:
        raise _malformed("the compressed body goes on after its end")
    return content


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed_body", detail, headers=_CLOSE)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, "body_too_large", f"the limit is {max_bytes} bytes", headers=_CLOSE)
