"""What the API answers about each generation, and the images behind its URLs."""

import asyncio
import hashlib
from collections.abc import Iterable
from io import BytesIO
from typing import Final, cast

import aiohttp
from PIL import Image

from tests.oracle.evidence import Evidence, Picture, Row

AT_ONCE: Final = 4


class ApiReader:
    """Reads with the key of one owner. `http`: an open session."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self._http, self._url = http, url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def fill(self, evidence: Evidence, generation_ids: Iterable[str]) -> None:
        """Adds the answers, the timelines, the images and the thumbnails of these generations."""
        left = iter(sorted(generation_ids))

        async def one_after_another() -> None:
            for generation_id in left:
                await self._fill_one(evidence, generation_id)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_another())
        for generation_id, before in evidence.seen.deleted.items():
            evidence.gone[generation_id] = await self._are_gone(before)

    async def _fill_one(self, evidence: Evidence, generation_id: str) -> None:
        answer = await self._json(f"/v1/generations/{generation_id}")
        evidence.answers[generation_id] = answer
        if answer is None:
            return
        evidence.histories[generation_id] = await self._history(generation_id)
        for output in cast("list[Row]", answer["outputs"]):
            key = (generation_id, str(output["id"]))
            for name, pictures in (("url", evidence.pictures), ("thumbnail_url", evidence.thumbnails)):
                if output[name] is not None:
                    pictures[key] = await self._picture(output[name])

    async def _history(self, generation_id: str) -> list[str]:
        positions: list[str] = []
        cursor: object = None
        while True:
            query = "?limit=200" + (f"&cursor={cursor}" if cursor else "")
            page = await self._json(f"/v1/generations/{generation_id}/events{query}")
            if page is None:
                return positions
            positions += [str(event["position"]) for event in cast("list[Row]", page["data"])]
            cursor = page["next_cursor"]
            if not cursor:
                return positions

    async def _json(self, path: str) -> Row | None:
        """None for a 404."""
        async with self._http.get(self._url + path, headers=self._headers) as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            found: Row = await response.json()
            return found

    async def _picture(self, url: object) -> Picture:
        async with self._http.get(str(url)) as response:
            body = await response.read()
            if response.status != 200:
                return Picture(0, 0, 0, "", f"{response.status} {body[:100]!r}")
        return opened(body)

    async def _are_gone(self, before: Row) -> bool:
        for output in cast("list[Row]", before.get("outputs", [])):
            for url in filter(None, (output["url"], output["thumbnail_url"])):
                async with self._http.get(str(url)) as response:
                    if response.status != 404:
                        return False
        return True


def opened(body: bytes) -> Picture:
    """Decodes every pixel."""
    digest = hashlib.sha256(body).hexdigest()
    try:
        with Image.open(BytesIO(body)) as image:
            image.load()
            return Picture(image.width, image.height, len(body), digest)
    except (OSError, ValueError) as error:
        return Picture(0, 0, len(body), digest, f"{type(error).__name__}: {error}")
