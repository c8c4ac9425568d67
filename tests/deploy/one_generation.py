"""A client that requests one image over HTTP and waits for its thumbnail."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.integration.running import eventually


async def made(base: str, key: str) -> Mapping[str, Any]:
    """A generation that was requested over HTTP, once it has its thumbnail."""
    async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {key}"}) as http:
        wanted = {"prompt": "a lighthouse in a storm", "width": 256, "height": 256}
        async with http.post("/v1/generations", json=wanted) as answer:
            assert answer.status == 202, await answer.text()
            path, position = answer.headers["Location"], answer.headers["Gengui-Position"]

        async def settled() -> Mapping[str, Any] | None:
            async with http.get(path, headers={"Min-Position": position}) as answer:
                found: Mapping[str, Any] = await answer.json()
            assert answer.status in {200, 504}, found  # 504: the projection is behind
            outputs = found.get("outputs")
            return found if outputs and outputs[0]["thumbnail_url"] else None

        found = await eventually(settled)
        assert found is not None
        return found


async def fetched(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 200
        return await answer.read()
