"""Event streams: the timeline of one generation, and all events of an owner."""

import time
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from aiohttp import web

from api.auth import IN_QUERY, new_stream_token, principal_of, reader_of
from api.context import STATE, ApiContext, context_of
from api.http import resources
from api.http.parsing import CORRELATION_ID, WAITED, Query, generation_id_of, header_of
from api.http.problems import fault, invalid
from api.http.responses import json_response
from api.notification_fanout import Subscription
from api.projection_waits import own, reach, refuse_beyond_log
from gengui_stream.accounts.keys.access import still_holds
from gengui_stream.accounts.principals import Principal
from gengui_stream.errors import TransientError
from gengui_stream.log.positions import format_vector, parse_vector
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import timeline
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.queries import generations
from schemas.http import FieldFault

CHUNK: Final = 200
"""The most events of a partition read at once, and kept in memory for a slow client."""

COMMENT_EVERY_S = 15.0

BEGINNING: Final = "beginning"
"""The id before the first event. Browsers do not send an empty id."""

LAST_ID_HEADER: Final = "Last-Event-ID"
LAST_ID_PARAMETER: Final = "last_event_id"
"""For a new EventSource, which cannot send the header; a reconnecting one sends it, and then the header counts."""

PARAMETERS: Final = (IN_QUERY, LAST_ID_PARAMETER)

STREAMING: Final = web.RequestKey("streaming", bool)
"""Set once the response has begun, so that it can no longer be replaced by a problem document."""

_log = structlog.get_logger(__name__)


async def create_token(request: web.Request) -> web.Response:
    """A token for the query of an event stream, as a browser needs it."""
    await principal_of(request, "generations:read")
    Query(request).check()
    made = await new_stream_token(request)
    return json_response({"token": made.token, "expires_at": made.expires_at}, 201, {"Cache-Control": "no-store"})


async def stream_all(request: web.Request) -> web.StreamResponse:
    """Streams all new events of the owner, from now on or from `Last-Event-ID`, until the client disconnects."""
    caller, context = await reader_of(request), context_of(request)
    Query(request, *PARAMETERS).check()
    with context.streams.admitted(caller.user_id):
        seen = await _start(request, context, from_beginning=False)
        return await _Stream(request, context, caller, seen).serve()


async def stream_one(request: web.Request) -> web.StreamResponse:
    """Streams the whole timeline and new events, until the generation has ended and its thumbnails are settled."""
    caller, context = await reader_of(request), context_of(request)
    Query(request, *PARAMETERS).check()
    with context.streams.admitted(caller.user_id):
        return await _stream_generation(request, context, caller)


async def _stream_generation(request: web.Request, context: ApiContext, caller: Principal) -> web.StreamResponse:
    await reach(request, context, caller.user_id)
    generation_id = generation_id_of(request)
    found = await own(request, context, generation_id, caller.user_id)
    seen = await _start(request, context, from_beginning=True)
    # A foreign producer may have put some of its events on other partitions: those that were seen count as well.
    home = found.position.partition
    read = {partition: offset for partition, offset in seen.items() if offset >= 0 or partition == home}
    return await _Stream(request, context, caller, read, generation_id, pruned_before=found.pruned_before).serve()


async def _start(request: web.Request, context: ApiContext, *, from_beginning: bool) -> dict[int, int]:
    """The last offset sent of each partition: of the last event id, else none or the current end."""
    partitions = range(context.settings.events_partitions)
    if (last := _last_event_id(request, len(partitions))) is not None:
        name, seen = last
        await _check_known(context, seen, name)
        return {partition: seen.get(partition, -1) for partition in partitions}
    if from_beginning:
        return dict.fromkeys(partitions, -1)
    projected = await checkpoints.projected(context.pool, context.settings.events_topic)
    return {partition: projected.get(partition, 0) - 1 for partition in partitions}


def _last_event_id(request: web.Request, partitions: int) -> tuple[str, dict[int, int]] | None:
    """The name and the offsets of the one that counts. Raises a 422 refusal if either of them is invalid."""
    texts = {
        LAST_ID_HEADER: header_of(request, LAST_ID_HEADER),
        LAST_ID_PARAMETER: request.query.get(LAST_ID_PARAMETER),
    }
    found, faults = list[tuple[str, dict[int, int]]](), list[FieldFault]()
    for name, text in texts.items():
        try:
            found += [(name, _vector(text, partitions))] if text else []
        except ValueError as error:
            faults.append(fault(name, str(error)))
    if faults:
        raise invalid(faults)
    return found[0] if found else None


async def _check_known(context: ApiContext, seen: dict[int, int], name: str) -> None:
    """Raises a 422 refusal for an offset that the log does not have: it would hide the events up to it."""
    projected = await checkpoints.projected(context.pool, context.settings.events_topic)
    if any(offset >= projected.get(partition, 0) for partition, offset in seen.items()):
        await refuse_beyond_log(context, seen, name)


def _event_id(seen: dict[int, int]) -> str:
    return format_vector({partition: offset for partition, offset in seen.items() if offset >= 0}) or BEGINNING


def _vector(text: str, partitions: int) -> dict[int, int]:
    """The reverse of `_event_id`. Raises ValueError."""
    if text == BEGINNING:
        return {}
    vector = parse_vector(text)
    if max(vector) >= partitions:
        raise ValueError(f"the partitions are 0 to {partitions - 1}")
    return vector


class _AccessEnded(Exception):
    """The key of a stream was revoked or has expired, or its user has another role."""


class _Stream:
    """The stream of one client: reads the events after `seen`, writes them, and waits for a notification. A slow client
    delays only itself."""

    def __init__(
        self,
        request: web.Request,
        context: ApiContext,
        caller: Principal,
        seen: dict[int, int],
        only: UUID | None = None,
        *,
        pruned_before: datetime | None = None,
    ) -> None:
        self._request, self._context, self._seen, self._only = request, context, seen, only
        self._caller, self._owner_id, self._internals = caller, caller.user_id, caller.allows("ops")
        self._pruned_before = pruned_before
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._written_at = time.monotonic()

    async def serve(self) -> web.StreamResponse:
        streams_open = self._request.app[STATE].metrics.streams_open
        fanout = self._context.fanout
        with streams_open.track_inprogress(), fanout.subscribed(self._owner_id, self._only) as subscription:
            self._request[STREAMING] = self._request[WAITED] = True
            await self._response.prepare(self._request)
            with suppress(ConnectionResetError):
                await self._write(f"retry: 1000\nid: {_event_id(self._seen)}\n\n")
                if self._pruned_before is not None:
                    data = resources.dump({"pruned_before": self._pruned_before}).decode()
                    await self._write(f"event: pruned\ndata: {data}\n\n")
                await self._write(await self._follow(subscription))
        return self._response

    async def _follow(self, subscription: Subscription) -> str:
        """Sends events until the stream ends; returns its last message."""
        try:
            while not self._context.fanout.closing.is_set():
                if await self._has_ended():
                    return "event: end\ndata: {}\n\n"
                await subscription.wait(await self._keep_alive())
        except _AccessEnded:
            return ": the key was revoked, or the session has ended\n\n"
        return ": the server is stopping; reconnect with Last-Event-ID\n\n"

    async def _check_access(self) -> None:
        if not await still_holds(self._context.pool, self._caller):
            raise _AccessEnded

    async def _has_ended(self) -> bool:
        """Sends all new events; whether no more can follow. While the database is unavailable there are none."""
        try:
            if not (sent := await self._send_new()):
                await self._check_access()
            while sent and not self._context.fanout.closing.is_set():
                sent = await self._send_new()
            return await self._finished()
        except TransientError as error:
            _log.warning("stream_interrupted", error=str(error), correlation_id=self._request[CORRELATION_ID])
            return False

    async def _send_new(self) -> bool:
        rows = await self._read()
        if rows:  # after the read: of what was committed after a revocation nothing is sent
            await self._check_access()
        lines: list[str] = []
        for row in rows:
            self._seen[row.partition] = row.log_offset
            body = resources.dump(resources.event(row, internals=self._internals)).decode()
            lines.append(f"id: {_event_id(self._seen)}\nevent: {row.type}\ndata: {body}\n\n")
        if lines:
            await self._write("".join(lines))
        return bool(lines)

    async def _read(self) -> list[TimelineRow]:
        if self._only is None:
            return await timeline.of_owner(self._context.pool, self._owner_id, self._seen, CHUNK)
        return await timeline.new_of_generation(self._context.pool, self._only, self._seen, CHUNK)

    async def _finished(self) -> bool:
        if self._only is None:
            return False
        found = await generations.find(self._context.pool, self._only, self._owner_id)
        if found is None:
            return True
        if not found.state.settled:
            return False
        if found.pruned_before is not None:  # the event at that position may have been removed
            return not await self._send_new()
        return found.position.offset <= self._seen[found.position.partition]

    async def _keep_alive(self) -> float:
        """Writes a comment after COMMENT_EVERY_S without data; returns the seconds until the next one is due."""
        if time.monotonic() - self._written_at >= COMMENT_EVERY_S:
            await self._write(": keep-alive\n\n")
        return max(0.0, self._written_at + COMMENT_EVERY_S - time.monotonic())

    async def _write(self, text: str) -> None:
        await self._response.write(text.encode())
        self._written_at = time.monotonic()
