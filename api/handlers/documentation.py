"""The OpenAPI document and Swagger UI, served without external resources."""

import importlib.util
from pathlib import Path
from typing import Final

from aiohttp import web

from api.http.responses import json_response
from schemas.openapi import openapi_document


def _assets() -> Path:
    """The static files of Swagger UI. Its package is not imported: it serves other frameworks."""
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("swagger-ui-py is not installed")
    return Path(spec.submodule_search_locations[0]) / "static"


ASSETS: Final = _assets()

PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GenGui Stream API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head><body><div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", persistAuthorization: true})</script>
</body></html>"""


async def openapi(_: web.Request) -> web.Response:
    return json_response(openapi_document())


async def docs(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")
