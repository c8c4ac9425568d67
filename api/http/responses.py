"""JSON responses."""

from hashlib import sha256

from aiohttp import web

from api.http import resources


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=resources.dump(document), status=status, content_type="application/json", headers=headers)


def versioned_response(request: web.Request, document: object, version: int) -> web.Response:
    """With an entity tag; 304 without a body when the client has this very response. The version alone would not do:
    signed URLs are renewed, and the position in the queue moves, without a new version."""
    body = resources.dump(document)
    tag = f"{version}-{sha256(body).hexdigest()[:16]}"
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)
