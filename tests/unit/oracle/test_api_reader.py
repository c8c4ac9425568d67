"""The reader of the API's answers."""

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.oracle.api_reader import ApiReader
from tests.oracle.evidence import Evidence


async def _generation(_: web.Request) -> web.Response:
    missing = {"id": "0", "url": None, "thumbnail_url": None, "missing": True}
    return web.json_response({"outputs": [missing]})


async def _events(_: web.Request) -> web.Response:
    return web.json_response({"data": [{"position": "0:1"}], "next_cursor": None})


async def test_an_output_without_an_image_is_read_as_one_without_a_picture() -> None:
    """A store that lost an image leaves none to fetch: the rules count it, and the reader goes on."""
    app = web.Application()
    app.add_routes([web.get("/v1/generations/a", _generation), web.get("/v1/generations/a/events", _events)])
    evidence = Evidence()
    async with TestServer(app) as server, ClientSession() as http:
        await ApiReader(http, str(server.make_url("")).rstrip("/"), "key").fill(evidence, ["a"])
    assert evidence.histories == {"a": ["0:1"]}
    assert not evidence.pictures
    assert not evidence.thumbnails
