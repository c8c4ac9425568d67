"""Create, get, list, cancel, retry, delete."""

import base64
import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Final, get_args
from uuid import UUID, uuid5

import asyncpg
import orjson
from aiohttp import web

from api import resources
from api.problems import Refusal, fault, invalid, not_found
from api.requests import Query, generation_id_of, min_position, parse, read_json, wait_seconds
from api.services import Services, base_url, principal, services
from gengui_stream.accounts import idempotency
from gengui_stream.domain.generation import TERMINAL
from gengui_stream.identifiers import new_id
from gengui_stream.log.positions import Position
from gengui_stream.queries import generations, histories
from schemas.events import GenerationCancelRequested, GenerationDeleted, GenerationRequested
from schemas.fields import SEED_MAX
from schemas.http import CreateGeneration, StatusName

BODY_MAX_BYTES: Final = 64 * 1024
KEY_MAX_CHARACTERS: Final = 255
POSITION_WAIT_S: Final = 5.0
PAGE_DEFAULT, PAGE_MAX = 50, 100
STATUSES: Final = get_args(StatusName)


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=resources.dump(document), status=status, content_type="application/json", headers=headers)


async def create(request: web.Request) -> web.Response:
    who, has = await principal(request, "user", "admin"), services(request)
    document = await read_json(request, BODY_MAX_BYTES)
    asked = parse(CreateGeneration, document)
    event = _requested(request, has, who.user_id, asked)
    key = _idempotency_key(request)
    if key is None:
        position = await has.log.append(event)
        return await _accepted(request, has, event, position)
    return await _create_once(request, has, event, key, document)


async def _create_once(
    request: web.Request, has: Services, event: GenerationRequested, key: str, document: object
) -> web.Response:
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()
    reserved = await idempotency.reserve(has.pool, event.owner_id, key, digest, event.generation_id)
    if reserved.request_hash != digest:
        raise Refusal(422, "idempotency_key_reused", "this Idempotency-Key was used with another body; use a new key")
    if reserved.response is not None and reserved.position is not None:
        headers = _headers(base_url(request), reserved.generation_id, reserved.position)
        headers["Idempotent-Replayed"] = "true"
        return json_response(orjson.Fragment(reserved.response), 202, headers)
    same = event.model_copy(
        update={"generation_id": reserved.generation_id, "id": uuid5(reserved.generation_id, "generation.requested")}
    )
    position = await has.log.append(same)
    first = resources.dump(_just_requested(request, same)).decode()
    await idempotency.answer(has.pool, event.owner_id, key, str(position), first)
    return await _accepted(request, has, same, position)


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= KEY_MAX_CHARACTERS and key.isascii() and key.isprintable()):
        raise invalid([fault("Idempotency-Key", f"must have 1 to {KEY_MAX_CHARACTERS} printable ASCII characters")])
    return key


def _requested(request: web.Request, has: Services, owner_id: UUID, asked: CreateGeneration) -> GenerationRequested:
    now, provider = datetime.now(UTC), asked.provider or has.settings.default_provider
    _check_provider(has, provider, asked)
    return GenerationRequested(
        id=new_id(),
        generation_id=new_id(),
        attempt=1,
        occurred_at=now,
        producer="api",
        correlation_id=request["correlation_id"],
        traceparent=request["traceparent"],
        owner_id=owner_id,
        prompt=asked.prompt,
        seed=asked.seed if asked.seed is not None else time.time_ns() % (SEED_MAX + 1),
        width=asked.width,
        height=asked.height,
        model=asked.model or has.settings.default_model,
        provider=provider,
        max_attempts=has.settings.max_attempts,
        deadline=now + timedelta(seconds=has.settings.generation_deadline_s),
    )


def _check_provider(has: Services, name: str, asked: CreateGeneration) -> None:
    provider = has.providers.get(name)
    if provider is None:
        raise invalid([fault("provider", f"there is no such provider; there are: {', '.join(has.providers)}")])
    can = provider.capabilities
    sides = {"width": asked.width, "height": asked.height}
    faults = [
        fault(side, f"{name} makes {can.size_min} to {can.size_max} pixels in steps of {can.size_step}")
        for side, pixels in sides.items()
        if not can.size_min <= pixels <= can.size_max or pixels % can.size_step
    ]
    if faults:
        raise invalid(faults)


async def _accepted(
    request: web.Request, has: Services, event: GenerationRequested, position: Position
) -> web.Response:
    headers = _headers(base_url(request), event.generation_id, str(position))
    seconds = wait_seconds(request)
    if seconds:
        row = await _until_ended(has, event.owner_id, event.generation_id, seconds)
        headers["Preference-Applied"] = f"wait={seconds}"
        if row is not None:
            ended = row["status"] in TERMINAL
            return json_response(
                resources.generation(row, has.store, base_url(request)), 200 if ended else 202, headers
            )
    return json_response(_just_requested(request, event), 202, headers)


async def _until_ended(has: Services, owner_id: UUID, generation_id: UUID, seconds: float) -> asyncpg.Record | None:
    deadline = time.monotonic() + seconds
    with has.hub.listening(owner_id) as bell:
        while True:
            row = await generations.find(has.pool, generation_id, owner_id)
            left = deadline - time.monotonic()
            if left <= 0 or has.hub.closing.is_set() or (row is not None and row["status"] in TERMINAL):
                return row
            await bell.ring(left)


def _headers(base: str, generation_id: UUID, position: str) -> dict[str, str]:
    return {"Location": f"{base}/v1/generations/{generation_id}", "Gengui-Position": position}


def _just_requested(request: web.Request, event: GenerationRequested) -> dict[str, object]:
    """The resource as the fold of this one event has it: nothing needs to be read."""
    return {
        "id": event.generation_id,
        "status": "queued",
        "version": 1,
        "model": event.model,
        "provider": event.provider,
        "attempt": 1,
        "prompt": event.prompt,
        "seed": event.seed,
        "width": event.width,
        "height": event.height,
        "progress": {"percent": None, "stage": None},
        "outputs": [],
        "error": None,
        "metrics": {"queue_ms": None, "run_ms": None, "total_ms": None},
        "created_at": event.occurred_at,
        "started_at": None,
        "ended_at": None,
        "deadline": event.deadline,
        "retried_from": event.retried_from,
        "urls": resources.urls(event.generation_id, base_url(request)),
    }


async def get(request: web.Request) -> web.Response:
    who, has = await principal(request), services(request)
    Query(request).check()
    await reach(request, has, who.user_id)
    row = await own_row(has, generation_id_of(request), who.user_id)
    return json_response(resources.generation(row, has.store, base_url(request)))


async def own_row(has: Services, generation_id: UUID, owner_id: UUID) -> asyncpg.Record:
    row = await generations.find(has.pool, generation_id, owner_id)
    if row is None:
        raise not_found()
    return row


async def reach(request: web.Request, has: Services, owner_id: UUID) -> None:
    """Waits, bounded, until the projections have what `Min-Position` names."""
    position = min_position(request, has.settings.events_partitions)
    if position is None:
        return
    deadline = time.monotonic() + POSITION_WAIT_S
    with has.hub.listening(owner_id) as bell:
        while not await histories.has_reached(has.pool, has.settings.events_topic, position):
            left = deadline - time.monotonic()
            if left <= 0:
                detail = f"the projections have not reached {position} yet; try again"
                raise Refusal(504, "projection_behind", detail, headers={"Retry-After": "1"})
            await bell.ring(min(left, 0.25))


async def page(request: web.Request) -> web.Response:
    who, has = await principal(request), services(request)
    await reach(request, has, who.user_id)
    query = Query(request, "status", "provider", "q", "created_after", "created_before", "limit", "cursor")
    filters = generations.Filters(
        statuses=query.choices("status", STATUSES),
        provider=query.text("provider", 100),
        text=query.text("q", 200),
        created_after=query.moment("created_after"),
        created_before=query.moment("created_before"),
    )
    limit = query.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    after = _cursor(query)
    query.check()
    rows = await generations.page(has.pool, who.user_id, filters, after, limit + 1)
    base = base_url(request)
    found = [resources.generation(row, has.store, base) for row in rows[:limit]]
    return json_response({"data": found, "next_cursor": _next(rows, limit)})


def _next(rows: list[asyncpg.Record], limit: int) -> str | None:
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return base64.urlsafe_b64encode(f"{last['requested_at'].isoformat()} {last['generation_id']}".encode()).decode()


def _cursor(query: Query) -> tuple[datetime, UUID] | None:
    text = query.text("cursor", 200)
    if text is None:
        return None
    try:
        moment, generation_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        place = datetime.fromisoformat(moment), UUID(generation_id)
    except ValueError:
        place = None
    if place is None or place[0].tzinfo is None:
        query.refuse("cursor", "is not one that this API gave: use next_cursor of the page before, unchanged")
        return None
    return place


async def cancel(request: web.Request) -> web.Response:
    who, has = await principal(request, "user", "admin"), services(request)
    generation_id = generation_id_of(request)
    row = await own_row(has, generation_id, who.user_id)
    if row["status"] in TERMINAL:
        found = resources.generation(row, has.store, base_url(request))
        return json_response({**found, "canceled": row["status"] == "canceled"})
    event = GenerationCancelRequested(
        id=new_id(),
        generation_id=generation_id,
        occurred_at=datetime.now(UTC),
        producer="api",
        correlation_id=request["correlation_id"],
        traceparent=request["traceparent"],
    )
    position = await has.log.append(event)
    row = await _projected_row(has, who.user_id, generation_id, position)
    found = resources.generation(row, has.store, base_url(request))
    canceled = row["status"] == "canceled" or (row["cancel_requested"] and row["status"] not in TERMINAL)
    return json_response({**found, "canceled": canceled}, headers={"Gengui-Position": str(position)})


async def _projected_row(has: Services, owner_id: UUID, generation_id: UUID, position: Position) -> asyncpg.Record:
    """The row once the projections have our own event, or as it stands when they are too far behind."""
    deadline = time.monotonic() + POSITION_WAIT_S
    with has.hub.listening(owner_id) as bell:
        while not await histories.has_reached(has.pool, has.settings.events_topic, position):
            if time.monotonic() > deadline:
                break
            await bell.ring(0.25)
    return await own_row(has, generation_id, owner_id)


async def retry(request: web.Request) -> web.Response:
    """A new generation like the old one, which must have ended."""
    who, has = await principal(request, "user", "admin"), services(request)
    row = await own_row(has, generation_id_of(request), who.user_id)
    if row["status"] not in TERMINAL:
        raise Refusal(409, "not_ended", f"it is {row['status']}; only an ended generation can be retried")
    asked = CreateGeneration(
        prompt=row["prompt"],
        width=row["width"],
        height=row["height"],
        seed=row["seed"],
        model=row["model"],
        provider=row["provider"],
    )
    again = _requested(request, has, who.user_id, asked).model_copy(update={"retried_from": row["generation_id"]})
    return await _accepted(request, has, again, await has.log.append(again))


async def delete(request: web.Request) -> web.Response:
    who, has = await principal(request, "user", "admin"), services(request)
    generation_id = generation_id_of(request)
    await own_row(has, generation_id, who.user_id)
    event = GenerationDeleted(id=new_id(), generation_id=generation_id, occurred_at=datetime.now(UTC), producer="api")
    position = await has.log.append(event)
    return web.Response(status=204, headers={"Gengui-Position": str(position)})
