"""Reports of workers over HTTP: a batch of events, each accepted or refused with a reason."""

from typing import Final
from uuid import UUID

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from api.auth import principal_of
from api.context import context_of
from api.http.bodies import read_json
from api.http.parsing import Query
from api.http.problems import fault, faults_of, invalid
from api.http.responses import json_response
from gengui_stream.log.positions import Position
from schemas.worker import WORKER_BATCH_MAX, WorkerEvent

BODY_MAX_BYTES: Final = 1024 * 1024

_event: Final[TypeAdapter[WorkerEvent]] = TypeAdapter(WorkerEvent)


async def report(request: web.Request) -> web.Response:
    await principal_of(request, "worker", "admin")
    Query(request).check()
    items = _items(await read_json(request, BODY_MAX_BYTES))
    parsed = [_parse(item) for item in items]
    accepted = [item for item in parsed if not isinstance(item, str)]
    positions = iter(await context_of(request).log.append_many(accepted) if accepted else [])
    outcomes = [
        _refused(index, items[index], item) if isinstance(item, str) else _accepted(index, item.id, next(positions))
        for index, item in enumerate(parsed)
    ]
    return json_response({"data": outcomes})


def _items(document: object) -> list[object]:
    items = document.get("events") if isinstance(document, dict) and set(document) == {"events"} else None
    if not isinstance(items, list) or not 0 < len(items) <= WORKER_BATCH_MAX:
        raise invalid([fault("events", f'send {{"events": [...]}} with 1 to {WORKER_BATCH_MAX} events')])
    return items


def _parse(item: object) -> WorkerEvent | str:
    """The event, or the reason why a worker may not report it."""
    try:
        return _event.validate_python(item)
    except ValidationError as error:
        return "; ".join(f"{each.field}: {each.message}" for each in faults_of(error))[:1000]


def _accepted(index: int, event_id: UUID, position: Position) -> dict[str, object]:
    return {"index": index, "id": event_id, "outcome": "accepted", "position": str(position)}


def _refused(index: int, item: object, why: str) -> dict[str, object]:
    return {
        "index": index,
        "id": _claimed_id(item),
        "outcome": "refused",
        "code": "invalid_event",
        "detail": why,
    }


def _claimed_id(item: object) -> UUID | None:
    try:
        return UUID(item["id"]) if isinstance(item, dict) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
