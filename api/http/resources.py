"""Converts read models to the resources of `schemas.http`, as dictionaries that orjson serializes."""

from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.state import Generation, Status, StoredOutput
from gengui_stream.errors import BugError
from gengui_stream.log.codec import as_document
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.projections.generation_requests import RequestRow, row_of
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.queries.queue_position import QueueSnapshot
from schemas.events import GenerationRequested

INTERNAL: Final = frozenset({"producer", "worker", "object_key", "provider_job_id", "endpoint_id"})
"""Fields of events that name processes, machines, owners and jobs at providers."""


def dump(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z, default=str)


def generation(
    request: RequestRow, state: Generation, store: ObjectStore, base_url: str, waiting: QueueSnapshot | None = None
) -> dict[str, object]:
    """`schemas.http.GenerationResource`. Without `waiting` its `queue` is null."""
    started_at = _known_start(state)
    return {
        "id": state.generation_id,
        "status": state.status,
        "version": state.version,
        "model": state.model,
        "provider": state.provider,
        "attempt": state.attempt,
        "prompt": request.prompt,
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "progress": {"percent": state.percent, "stage": state.stage},
        "queue": _queue(state, waiting) if waiting and waits(state) else None,
        "outputs": [_output(output, store) for output in state.outputs],
        "error": state.error,
        "cancel_requested": state.cancel_requested and not state.terminal,
        "metrics": _metrics(state.requested_at, started_at, state.ended_at),
        "created_at": state.requested_at,
        "started_at": started_at,
        "ended_at": state.ended_at,
        "deadline": state.deadline,
        "retried_from": request.retried_from,
        "urls": urls(state.generation_id, base_url),
    }


def _known_start(state: Generation) -> datetime | None:
    """When the attempt started. The fold gives an attempt whose start was not reported the time of its completion."""
    return None if state.started_at == state.ended_at else state.started_at


def requested(event: GenerationRequested, store: ObjectStore, base_url: str) -> dict[str, object]:
    """The resource after this event alone: it needs no read, and a repeated request gets the same one."""
    state = evolve(None, event)
    if state is None:
        raise BugError(f"the event {event.id} requests no generation")
    return generation(row_of(event), state, store, base_url)


def urls(generation_id: UUID, base_url: str) -> dict[str, str]:
    here = f"{base_url}/v1/generations/{generation_id}"
    return {"self": here, "cancel": f"{here}/cancel", "events": f"{here}/events", "stream": f"{here}/stream"}


def waits(state: Generation) -> bool:
    """Whether it is queued at a provider, and has not been reported as started."""
    return state.status in {Status.QUEUED, Status.DISPATCHED} and state.started_at is None


def _queue(state: Generation, waiting: QueueSnapshot) -> dict[str, object]:
    position = waiting.position_of(state.provider, state.generation_id, state.owner_id)
    return {
        "position": position.position,
        "at_least": position.at_least,
        "starts_in_s": position.starts_in_s,
        "as_of": waiting.taken_at,
    }


def _output(output: StoredOutput, store: ObjectStore) -> dict[str, object]:
    image = None if output.missing else store.presigned_url(output.object_key)
    thumbnail = store.presigned_url(output.thumbnail.object_key) if output.thumbnail else None
    return {
        "id": output.id,
        "url": image.url if image else None,
        "missing": output.missing,
        "thumbnail_url": thumbnail.url if thumbnail else None,
        "expires_at": min((signed.expires_at for signed in (image, thumbnail) if signed), default=None),
        "thumbnail_error": output.thumbnail_error,
        "mime_type": output.mime_type,
        "width": output.width,
        "height": output.height,
        "bytes": output.bytes,
        "sha256": output.sha256,
    }


def _metrics(requested: datetime, started: datetime | None, ended: datetime | None) -> dict[str, int | None]:
    return {
        "queue_ms": _milliseconds(requested, started),
        "run_ms": _milliseconds(started, ended),
        "total_ms": _milliseconds(requested, ended),
    }


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    """Never negative, although the two times may come from different clocks."""
    return None if start is None or end is None else max(0, round((end - start).total_seconds() * 1000))


def event(row: TimelineRow, *, internals: bool) -> dict[str, object]:
    """`schemas.http.EventResource`. `internals`: with the fields of INTERNAL, which are for operators."""
    recorded = as_document(row.payload)
    return {
        "position": str(row.position),
        "generation_id": row.generation_id,
        "type": row.type,
        "event_id": row.event_id,
        "attempt": row.attempt,
        "occurred_at": row.occurred_at,
        "appended_at": row.appended_at,
        "version": row.version,
        "status": row.status,
        "ignored": row.ignored,
        "event": recorded if internals else _without_internals(recorded),
    }


def _without_internals(document: object) -> object:
    match document:
        case dict():
            return {name: _without_internals(field) for name, field in document.items() if name not in INTERNAL}
        case list():
            return [_without_internals(item) for item in document]
        case _:
            return document
