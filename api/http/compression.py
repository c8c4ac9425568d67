"""Compression of large responses, for clients that accept gzip. Event streams are never compressed: each event would
wait in the compressor for the next ones."""

from typing import Final

from aiohttp import web

from api.http.response_headers import vary_by

COMPRESSED_FROM_BYTES: Final = 4_096
COMPRESSIBLE: Final = frozenset({"application/json", "text/html", "text/plain"})


def compress(request: web.Request, response: web.StreamResponse) -> None:
    if not isinstance(response, web.Response) or response.prepared or response.content_type not in COMPRESSIBLE:
        return
    if isinstance(response.body, bytes) and len(response.body) >= COMPRESSED_FROM_BYTES:
        vary_by(response, "Accept-Encoding")
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            response.enable_compression(web.ContentCoding.gzip)


def accepts_gzip(header: str) -> bool:
    """Whether gzip has a weight above zero in the `Accept-Encoding` (RFC 9110, 12.5.3), by its name or by `*`."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        coding, _, parameter = part.partition(";")
        name, _, value = parameter.partition("=")
        weights[coding.strip()] = _weight(value.strip()) if name.strip() == "q" else 1.0
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(text: str) -> float:
    """Zero for a weight that is none: the response is then plain, which every client understands."""
    try:
        return float(text)
    except ValueError:
        return 0.0
