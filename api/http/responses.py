"""JSON responses."""

from aiohttp import web

from api.http import resources


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=resources.dump(document), status=status, content_type="application/json", headers=headers)
