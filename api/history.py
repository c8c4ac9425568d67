"""One generation's history as recorded, and live streams of it and of all an owner has."""

import time
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp import web

from api import resources
from api.generations import json_response, own_row, reach
from api.problems import fault, invalid
from api.requests import Query, generation_id_of
from api.services import Services, principal, services
from gengui_stream.log.positions import Position, format_vector, parse_vector
from gengui_stream.queries import generations, histories

HISTORY_DEFAULT, HISTORY_MAX = 500, 1_000
CHUNK: Final = 500
COMMENT_EVERY_S: Final = 15.0


async def history(request: web.Request) -> web.Response:
    who, has = await principal(request), services(request)
    await reach(request, has, who.user_id)
    query = Query(request, "limit", "cursor")
    limit = query.number("limit", HISTORY_DEFAULT, 1, HISTORY_MAX)
    cursor = query.text("cursor", 40)
    after = -1
    if cursor is not None:
        try:
            after = Position.parse(cursor).offset
        except ValueError:
            query.refuse("cursor", "is not one that this API gave: use next_cursor of the page before, unchanged")
    query.check()
    generation_id = generation_id_of(request)
    await own_row(has, generation_id, who.user_id)
    rows = await histories.of_generation(has.pool, generation_id, after, limit + 1)
    found = [resources.event(row) for row in rows[:limit]]
    return json_response({"data": found, "next_cursor": found[-1]["position"] if len(rows) > limit else None})


async def stream_all(request: web.Request) -> web.StreamResponse:
    """Everything new of the owner's, from now on or from `Last-Event-ID`; until the client leaves."""
    who, has = await principal(request), services(request)
    Query(request).check()
    seen = await _start(request, has, from_beginning=False)
    return await _Stream(request, has, who.user_id, seen).serve()


async def stream_one(request: web.Request) -> web.StreamResponse:
    """The whole history and what follows, until it has ended and its thumbnails are settled."""
    who, has = await principal(request), services(request)
    Query(request).check()
    await reach(request, has, who.user_id)
    generation_id = generation_id_of(request)
    row = await own_row(has, generation_id, who.user_id)
    seen = await _start(request, has, from_beginning=True)
    own = {row["partition"]: seen.get(row["partition"], -1)}
    return await _Stream(request, has, who.user_id, own, generation_id).serve()


async def _start(request: web.Request, has: Services, *, from_beginning: bool) -> dict[int, int]:
    """The last offset seen of each partition: as `Last-Event-ID` says, else nothing or everything so far."""
    partitions = range(has.settings.events_partitions)
    last_id = request.headers.get("Last-Event-ID")
    if last_id:
        try:
            vector = parse_vector(last_id)
        except ValueError as error:
            raise invalid([fault("Last-Event-ID", str(error))]) from None
        return {partition: vector.get(partition, -1) for partition in partitions}
    if from_beginning:
        return dict.fromkeys(partitions, -1)
    projected = await histories.projected(has.pool, has.settings.events_topic)
    return {partition: projected.get(partition, 0) - 1 for partition in partitions}


class _Stream:
    """One client's stream: reads what is past `seen`, writes it, waits for the bell. A slow client slows itself."""

    def __init__(
        self, request: web.Request, has: Services, owner_id: UUID, seen: dict[int, int], only: UUID | None = None
    ) -> None:
        self._request, self._has, self._owner_id, self._seen, self._only = request, has, owner_id, seen, only
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._written_at = time.monotonic()

    async def serve(self) -> web.StreamResponse:
        with self._has.hub.listening(self._owner_id) as bell:
            await self._response.prepare(self._request)
            await self._write(f"retry: 1000\nid: {format_vector(self._seen)}\n\n")
            try:
                while not self._has.hub.closing.is_set():
                    if not await self._send_new():
                        if await self._finished():
                            await self._write("event: end\ndata: {}\n\n")
                            return self._response
                        await self._keep_alive()
                        await bell.ring()
                await self._write(": the server is going away; come back with Last-Event-ID\n\n")
            except ConnectionResetError:
                pass
        return self._response

    async def _send_new(self) -> bool:
        rows = await self._read()
        lines: list[str] = []
        for row in rows:
            self._seen[row["partition"]] = row["log_offset"]
            body = resources.dump(resources.event(row)).decode()
            lines.append(f"id: {format_vector(self._seen)}\nevent: {row['type']}\ndata: {body}\n\n")
        if lines:
            await self._write("".join(lines))
        return bool(lines)

    async def _read(self) -> list[asyncpg.Record]:
        if self._only is None:
            return await histories.of_owner(self._has.pool, self._owner_id, self._seen, CHUNK)
        [after] = self._seen.values()
        return await histories.of_generation(self._has.pool, self._only, after, CHUNK)

    async def _finished(self) -> bool:
        if self._only is None:
            return False
        row = await generations.find(self._has.pool, self._only, self._owner_id)
        return row is None or (resources.settled(row) and row["log_offset"] <= self._seen[row["partition"]])

    async def _keep_alive(self) -> None:
        if time.monotonic() - self._written_at >= COMMENT_EVERY_S:
            await self._write(": still here\n\n")

    async def _write(self, text: str) -> None:
        await self._response.write(text.encode())
        self._written_at = time.monotonic()
