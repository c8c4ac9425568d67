"""Creating a generation, and retrying an ended one as a new generation."""

import hashlib
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from api.auth import generator_of
from api.context import ApiContext, base_url, context_of
from api.handlers.generations import shown
from api.handlers.new_generations import requested, requested_again
from api.http import resources
from api.http.bodies import read_json
from api.http.json_sizes import largest_json
from api.http.parsing import WAITED, Query, generation_id_of, header_of, parse, wait_seconds
from api.http.problems import Refusal, fault, invalid
from api.http.responses import json_response
from api.limits.admissions import admitted
from api.projection_waits import own, reach
from gengui_stream.accounts import idempotency
from gengui_stream.accounts.principals import Principal
from gengui_stream.domain.generation import decide
from gengui_stream.queries import generations
from gengui_stream.queries.generations import OwnedGeneration
from schemas.events import GenerationRequested
from schemas.http import CreateGeneration

KEY_MAX_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True)
class Submission:
    """The event on the log, its position, and whether an earlier request with the same key appended it."""

    event: GenerationRequested
    position: str
    replayed: bool = False


async def create(request: web.Request) -> web.Response:
    caller, context = await generator_of(request), context_of(request)
    Query(request).check()
    document = await read_json(request, largest_json(CreateGeneration))
    preferred = await context.preferences.get(caller.user_id)
    wanted = parse(CreateGeneration, document)
    event = await requested(request, context, caller.user_id, wanted, preferred=preferred)
    asked = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    return await _answer(request, context, await _submit(request, caller, event, asked))


async def retry(request: web.Request) -> web.Response:
    """Requests a new generation with the parameters of an ended one."""
    caller, context = await generator_of(request), context_of(request)
    Query(request).check()
    await reach(request, context, caller.user_id)
    ended = await own(request, context, generation_id_of(request), caller.user_id)
    if rejection := decide.retry(ended.state.status):
        raise Refusal(409, rejection.code, rejection.detail)
    event = await requested_again(request, context, ended)
    made = await _submit(request, caller, event, f"retry {event.retried_from}".encode())
    return await _answer(request, context, made)


async def _submit(request: web.Request, caller: Principal, event: GenerationRequested, asked: bytes) -> Submission:
    """A repeated request is answered whatever the limits, and counts no further generation."""
    context, key = context_of(request), _idempotency_key(request)
    if key is None:
        async with admitted(request, caller, event):
            return Submission(event, str(await context.log.append(event)))
    digest = hashlib.sha256(asked).digest()
    reserved = await idempotency.reserve(context.pool, key, digest, event)
    if reserved.request_hash != digest:
        raise Refusal(422, "idempotency_key_reused", "this Idempotency-Key was used with another body; use a new key")
    if reserved.position is not None:
        return Submission(reserved.event, reserved.position, replayed=True)
    async with admitted(request, caller, reserved.event, repeated=reserved.event.id != event.id):
        position = str(await context.pending.append([reserved.event]))
    first = await idempotency.settle(context.pool, event.owner_id, key, position)
    return Submission(reserved.event, first, replayed=first != position or reserved.event.id != event.id)


def _idempotency_key(request: web.Request) -> str | None:
    key = header_of(request, "Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= KEY_MAX_CHARACTERS and key.isascii() and key.isprintable()):
        raise invalid([fault("Idempotency-Key", f"must have 1 to {KEY_MAX_CHARACTERS} printable ASCII characters")])
    return key


async def _answer(request: web.Request, context: ApiContext, made: Submission) -> web.Response:
    """Responds with the event's resource; with `Prefer: wait=n` with the resource once ended, or after n seconds."""
    base, seconds = base_url(request), wait_seconds(request)
    location = resources.urls(made.event.generation_id, base)["self"]
    headers = {"Location": location, "Gengui-Position": made.position}
    if made.replayed:
        headers["Idempotent-Replayed"] = "true"
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds}"
        request[WAITED] = True
        found = await _until_ended(context, made.event.owner_id, made.event.generation_id, seconds)
        if found is not None:
            status = 200 if found.state.terminal else 202
            return json_response(await shown(request, context, found), status, headers)
    return json_response(resources.requested(made.event, context.store, base), 202, headers)


async def _until_ended(
    context: ApiContext, owner_id: UUID, generation_id: UUID, seconds: float
) -> OwnedGeneration | None:
    deadline = time.monotonic() + seconds
    with context.fanout.subscribed(owner_id, generation_id) as subscription:
        while True:
            found = await generations.find(context.pool, generation_id, owner_id)
            left = deadline - time.monotonic()
            if left <= 0 or context.fanout.closing.is_set() or (found is not None and found.state.terminal):
                return found
            await subscription.wait(left)
