"""Reports of workers over HTTP: a batch of events, each accepted or refused with a reason."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.http.bodies import read_json
from api.http.parsing import Query
from api.http.problems import Refusal, fault, faults_of, invalid
from api.http.responses import json_response
from gengui_stream.accounts.principals import Principal
from gengui_stream.domain.generation.state import Generation
from gengui_stream.domain.identifiers import unix_ms_of
from gengui_stream.errors import TransientError
from gengui_stream.log.partitions import partition_of
from gengui_stream.log.positions import Position
from gengui_stream.media.object_keys import is_plain, owner_of
from gengui_stream.media.object_store import ObjectFacts, looked_up
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.projections import generation_states, partition_owners
from schemas.events import GenerationCompleted, Output
from schemas.fields import WrittenId, WrittenMoment, written_uuid
from schemas.worker import WORKER_BATCH_MAX, WorkerEvent

BODY_MAX_BYTES: Final = 1024 * 1024
YOUNG_S: Final = 60.0
"""A generation may be on the log and not in the projections yet for so long after its request."""

_event: Final[TypeAdapter[WorkerEvent]] = TypeAdapter(WorkerEvent)


class _Refused(NamedTuple):
    code: str
    detail: str


class _AsWritten(BaseModel):
    """Stricter than events on the log."""

    id: WrittenId
    generation_id: WrittenId
    occurred_at: WrittenMoment


class _Known(NamedTuple):
    """What the events are checked against. `absent`: the generations that do not exist. `leased`: those whose job is
    leased by another key."""

    states: Mapping[UUID, Generation]
    absent: frozenset[UUID]
    leased: frozenset[UUID]
    objects: Mapping[str, ObjectFacts | None]


async def report(request: web.Request) -> web.Response:
    principal = await principal_of(request, "worker")
    Query(request).check()
    context = context_of(request)
    items = _items(await read_json(request, BODY_MAX_BYTES))
    parsed = [_parse(item) for item in items]
    known = await _known(context, principal, [item for item in parsed if not isinstance(item, _Refused)])
    checked = [item if isinstance(item, _Refused) else _checked(item, known) for item in parsed]
    accepted = [item for item in checked if not isinstance(item, _Refused)]
    if not accepted:
        raise _all_refused([item for item in checked if isinstance(item, _Refused)])
    positions = iter(await context.log.append_many(accepted))
    outcomes = [
        _refused(index, found, item) if isinstance(found, _Refused) else _accepted(index, found.id, next(positions))
        for index, (item, found) in enumerate(zip(items, checked, strict=True))
    ]
    return json_response({"data": outcomes})


def _items(document: object) -> list[object]:
    items = document.get("events") if isinstance(document, dict) and set(document) == {"events"} else None
    if not isinstance(items, list) or not 0 < len(items) <= WORKER_BATCH_MAX:
        raise invalid([fault("events", f'send {{"events": [...]}} with 1 to {WORKER_BATCH_MAX} events')])
    return items


def _parse(item: object) -> WorkerEvent | _Refused:
    """The event, or the reason why a worker may not report it."""
    try:
        event = _event.validate_python(item)
        _AsWritten.model_validate(item)
    except ValidationError as error:
        return _Refused("invalid_event", "; ".join(f"{each.field}: {each.message}" for each in faults_of(error))[:1000])
    return event


async def _known(context: ApiContext, principal: Principal, events: Sequence[WorkerEvent]) -> _Known:
    ids = {event.generation_id for event in events}
    leased = await _leased_by_others(context, principal, ids)
    with transient_errors():
        states = await generation_states.load(context.pool, ids)
    keys = [output.object_key for event in events for output in _outputs(event)]
    return _Known(states, await _absent(context, ids - states.keys()), leased, await looked_up(context.store, keys))


async def _leased_by_others(context: ApiContext, principal: Principal, ids: set[UUID]) -> frozenset[UUID]:
    """None for operators. Raises TransientError while Redis is unavailable: no report passes unchecked."""
    if principal.allows("ops"):
        return frozenset()
    keys = await context.leases.keys_of(ids)
    return frozenset(one for one, key in keys.items() if key != principal.credential)


async def _absent(context: ApiContext, unknown: set[UUID]) -> frozenset[UUID]:
    """Those that the log does not have: a worker gets a job only once the projections have its generation. Projections
    that are being restored or rebuilt know nothing about that, and a young generation may still be on its way."""
    if not unknown:
        return frozenset()
    live, partitions = await partition_owners.live(context.pool), context.settings.events_partitions
    return frozenset(one for one in unknown if partition_of(str(one).encode(), partitions) in live and not _young(one))


def _young(generation_id: UUID) -> bool:
    made_ms = unix_ms_of(generation_id)
    return made_ms is not None and abs(time.time() - made_ms / 1000) < YOUNG_S


def _outputs(event: WorkerEvent) -> Sequence[Output]:
    return event.outputs if isinstance(event, GenerationCompleted) else ()


def _checked(event: WorkerEvent, known: _Known) -> WorkerEvent | _Refused:
    """Raises TransientError when it reports an object of a user before the projections know whose generation it is."""
    if event.generation_id in known.absent:
        return _Refused("unknown_generation", f"there is no generation {event.generation_id}")
    if event.generation_id in known.leased:
        return _Refused("lease_of_another_key", f"the job of {event.generation_id} is leased by another key")
    state = known.states.get(event.generation_id)
    for output in _outputs(event):
        if not is_plain(output.object_key):
            return _Refused("foreign_object_key", f"{output.object_key[:200]!r} has a segment or a character of no key")
        owner = owner_of(output.object_key)
        if owner is not None and state is None:
            raise TransientError(f"{event.generation_id} is not projected yet, so its owner is not known")
        if owner is not None and state is not None and owner != state.owner_id:
            return _Refused("foreign_object_key", f"{output.object_key} is another user's")
        if known.objects[output.object_key] is None:
            return _Refused("object_missing", f"{output.object_key} is not in the object store: upload, then report")
    return event


def _all_refused(refused: Sequence[_Refused]) -> Refusal:
    """A client that looks at the status alone must not take its events for recorded."""
    codes = {one.code for one in refused}
    errors = [fault(f"events.{index}", f"{one.code}: {one.detail}") for index, one in enumerate(refused)]
    detail = "no event was recorded: see errors"
    if codes == {"unknown_generation"}:
        return Refusal(404, "unknown_generation", detail, errors=errors)
    if len(codes) > 1:
        return Refusal(422, "events_refused", detail, errors=errors)
    return Refusal(422, codes.pop(), detail, errors=errors)


def _accepted(index: int, event_id: UUID, position: Position) -> dict[str, object]:
    return {"index": index, "id": event_id, "outcome": "accepted", "position": str(position)}


def _refused(index: int, refused: _Refused, item: object) -> dict[str, object]:
    outcome = {"index": index, "id": _claimed_id(item), "outcome": "refused"}
    return {**outcome, "code": refused.code, "detail": refused.detail}


def _claimed_id(item: object) -> UUID | None:
    try:
        return written_uuid(item["id"]) if isinstance(item, dict) else None
    except (KeyError, ValueError, TypeError):
        return None
