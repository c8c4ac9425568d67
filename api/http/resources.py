"""Converts rows to the resources of `schemas.http`, as dictionaries that orjson serializes."""

from datetime import datetime
from typing import TypedDict
from uuid import UUID

import asyncpg
import orjson

from gengui_stream.log.codec import as_document
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.queries.queue_position import QueueSnapshot
from schemas.events import GenerationRequested


class StoredThumbnail(TypedDict):
    object_key: str


class Stored(TypedDict):
    """An output in the column `generation_states.outputs`."""

    id: str
    object_key: str
    mime_type: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None
    thumbnail: StoredThumbnail | None
    thumbnail_error: str | None


def dump(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z, default=str)


def generation(
    row: asyncpg.Record, store: ObjectStore, base_url: str, waiting: QueueSnapshot | None = None
) -> dict[str, object]:
    """`schemas.http.GenerationResource`. Without `waiting` its `queue` is null."""
    return {
        "id": str(row["generation_id"]),
        "status": row["status"],
        "version": row["version"],
        "model": row["model"],
        "provider": row["provider"],
        "attempt": row["attempt"],
        "prompt": row["prompt"],
        "seed": row["seed"],
        "width": row["width"],
        "height": row["height"],
        "progress": {"percent": row["percent"], "stage": row["stage"]},
        "queue": _queue(row, waiting) if waiting and waits(row) else None,
        "outputs": [_output(stored, store) for stored in _stored(row)],
        "error": orjson.loads(row["error"]) if row["error"] else None,
        "metrics": _metrics(row["requested_at"], row["started_at"], row["ended_at"]),
        "created_at": row["requested_at"],
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "deadline": row["deadline"],
        "retried_from": row["retried_from"],
        "urls": urls(row["generation_id"], base_url),
    }


def requested(event: GenerationRequested, base_url: str) -> dict[str, object]:
    """The resource after this event alone: it needs no read, and a repeated request gets the same one."""
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
        "queue": None,
        "outputs": [],
        "error": None,
        "metrics": _metrics(event.occurred_at, None, None),
        "created_at": event.occurred_at,
        "started_at": None,
        "ended_at": None,
        "deadline": event.deadline,
        "retried_from": event.retried_from,
        "urls": urls(event.generation_id, base_url),
    }


def urls(generation_id: UUID, base_url: str) -> dict[str, str]:
    here = f"{base_url}/v1/generations/{generation_id}"
    return {"self": here, "cancel": f"{here}/cancel", "events": f"{here}/events", "stream": f"{here}/stream"}


def settled(row: asyncpg.Record) -> bool:
    """Whether it has ended, and each output has a thumbnail or the reason why there is none."""
    if row["ended_at"] is None:
        return False
    return all(stored["thumbnail"] or stored["thumbnail_error"] for stored in _stored(row))


def waits(row: asyncpg.Record) -> bool:
    """Whether it is queued at a provider, and has not been reported as started."""
    return row["status"] in {"queued", "dispatched"} and row["started_at"] is None


def _queue(row: asyncpg.Record, waiting: QueueSnapshot) -> dict[str, object]:
    position = waiting.position_of(row["provider"], (row["requested_at"], row["generation_id"]))
    return {
        "position": position.position,
        "at_least": position.at_least,
        "starts_in_s": position.starts_in_s,
        "as_of": waiting.taken_at,
    }


def _stored(row: asyncpg.Record) -> list[Stored]:
    stored: list[Stored] = orjson.loads(row["outputs"]) if row["outputs"] else []
    return stored


def _output(stored: Stored, store: ObjectStore) -> dict[str, object]:
    thumbnail = stored["thumbnail"]
    return {
        "id": stored["id"],
        "url": store.presigned_url(stored["object_key"]),
        "thumbnail_url": store.presigned_url(thumbnail["object_key"]) if thumbnail else None,
        "thumbnail_error": stored["thumbnail_error"],
        "mime_type": stored["mime_type"],
        "width": stored["width"],
        "height": stored["height"],
        "bytes": stored["bytes"],
        "sha256": stored["sha256"],
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


def event(row: asyncpg.Record) -> dict[str, object]:
    """`schemas.http.EventResource`."""
    return {
        "position": f"{row['partition']}:{row['log_offset']}",
        "generation_id": row["generation_id"],
        "type": row["type"],
        "event_id": row["event_id"],
        "attempt": row["attempt"],
        "occurred_at": row["occurred_at"],
        "appended_at": row["appended_at"],
        "version": row["version"],
        "status": row["status"],
        "ignored": row["ignored"],
        "event": as_document(row["payload"]),
    }
