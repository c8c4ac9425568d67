"""The OpenAPI document and Swagger UI, served without external resources. URLs are relative, so that they hold behind a
proxy that serves the API under a path."""

import asyncio
import base64
import gzip
import hashlib
import importlib.util
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from api.auth import authenticated
from api.context import SETTINGS
from api.http.compression import accepts_gzip
from api.http.response_headers import CONTENT_POLICY, vary_by
from api.http.responses import json_response
from gengui_stream.settings import Settings
from schemas.openapi import METRICS_PATH, openapi_document

ASSET_TYPES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
FOREVER: Final = "public, max-age=31536000, immutable"
"""The version of Swagger UI is in the path of its files."""

SCRIPT: Final = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", persistAuthorization: true, validatorUrl: null})'
)
PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GenGui Stream API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/swagger-ui.css"></head><body><div id="docs"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body></html>"""


async def _check_access(request: web.Request) -> None:
    if request.app[SETTINGS].api_docs == "key":
        await authenticated(request)


async def openapi(request: web.Request) -> web.Response:
    await _check_access(request)
    settings = request.app[SETTINGS]
    without = (METRICS_PATH,) if settings.api_metrics_port is not None else ()
    document = openapi_document(settings.public_url.rstrip("/") if settings.public_url else "/", without=without)
    return json_response(document, headers={"Cache-Control": _cached(settings)})


async def docs(request: web.Request) -> web.Response:
    await _check_access(request)
    page = PAGE.format(assets=f"docs/assets/{_release()}", script=SCRIPT)
    headers = {
        CONTENT_POLICY: _policy(request.app[SETTINGS].public_url),
        "Cache-Control": _cached(request.app[SETTINGS]),
    }
    return web.Response(text=page, content_type="text/html", headers=headers)


async def start_page(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "docs"})


async def docs_folder(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "../docs"})


async def asset(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if request.match_info["release"] != _release() or name not in ASSET_TYPES:
        raise web.HTTPNotFound
    plain, packed = await asyncio.to_thread(_read, name)
    compressed = accepts_gzip(request.headers.get("Accept-Encoding", ""))
    headers = {"Cache-Control": FOREVER} | ({"Content-Encoding": "gzip"} if compressed else {})
    body = packed if compressed else plain
    response = web.Response(body=body, content_type=ASSET_TYPES[name], charset="utf-8", headers=headers)
    vary_by(response, "Accept-Encoding")
    return response


def _cached(settings: Settings) -> str:
    return "public, no-cache" if settings.api_docs == "public" else "no-store"


def _policy(public_url: str | None) -> str:
    """Swagger UI sets styles by itself; nothing but the page's own script runs."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    public = urlsplit(public_url) if public_url else None
    called = f"'self' {public.scheme}://{public.netloc}" if public else "'self'"
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self' data:; connect-src {called}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _release() -> str:
    return version("swagger-ui-py")


@cache
def _read(name: str) -> tuple[bytes, bytes]:
    """The file, and the file compressed. Its package is not imported: it serves other frameworks."""
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("swagger-ui-py is not installed")
    plain = (Path(spec.submodule_search_locations[0]) / "static" / name).read_bytes()
    return plain, gzip.compress(plain, mtime=0)
