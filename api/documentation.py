"""The OpenAPI document and a page to try it; everything is served from here, nothing is fetched from elsewhere."""

from pathlib import Path
from typing import Final

import swagger_ui_bundle
from aiohttp import web

from api.answers import json_response
from schemas.openapi import openapi_document

ASSETS: Final = Path(swagger_ui_bundle.swagger_ui_path)

PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GenGui Stream API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head><body><div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", persistAuthorization: true})</script>
</body></html>"""


async def openapi(_: web.Request) -> web.Response:
    return json_response(openapi_document())


async def docs(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")
