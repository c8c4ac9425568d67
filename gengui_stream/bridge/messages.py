"""Translates the workers' status messages into events. Pure and total: an entry is an event, or invalid with a reason.

Entries have no attempt, so their events are about the current one, and an entry may be read twice (its reader died
between append and acknowledgement). So every event made here may be applied twice: a failure is final
(`retryable=False`), as in the service that these workers were made for, because a repeated retryable failure would use
up another attempt. `POST /v1/generations/{id}/retry` starts another one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID, uuid5

from pydantic import TypeAdapter, ValidationError

from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.redis_io.streams import StreamEntry
from gengui_stream.tracing.spans import valid_traceparent
from schemas.events import Failure, GenerationCompleted, GenerationFailed, GenerationStarted, Output
from schemas.fields import ObjectKey

STATUS_STREAM: Final = "job:status:stream"
STATUS_GROUP: Final = "core-status-processors"
DEAD_STREAM: Final = f"{STATUS_STREAM}:dead"
DEAD_PREFIX: Final = "dead."
"""Begins the names of the fields that a dead letter adds to the message."""

OBJECT_MISSING: Final = "object_missing"
ENTRY_MAX_CHARACTERS: Final = 256 * 1024
ERROR_MAX_CHARACTERS: Final = 500
BELIEVABLE_AGE: Final = timedelta(hours=12)
"""The time of an entry is used within this distance of now. The fold ignores events that are much older than their
record, and a status that was in Redis for days must still count."""

_NAMESPACE: Final = UUID("5f3b9f0e-6c1d-5d0a-9f57-2b6b0f6a3c11")
_UNREADABLE: Final = re.compile("[\x00\ud800-\udfff]")
_object_key: Final[TypeAdapter[str]] = TypeAdapter(ObjectKey)


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """Not a status: the entry goes to the dead-letter stream. `reason`: a stable code; `detail`: a sentence."""

    reason: str
    detail: str


StatusEvent: TypeAlias = GenerationStarted | GenerationCompleted | GenerationFailed
Translated: TypeAlias = tuple[StreamEntry, StatusEvent | InvalidMessage]


class _InvalidMessageError(Exception):  # carries a value out of the parsing below, never leaves the module
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.message = InvalidMessage(reason, detail)


def translate(entry: StreamEntry, now: datetime) -> StatusEvent | InvalidMessage:
    """The same entry always becomes an event with the same id."""
    try:
        return _event(entry, now)
    except _InvalidMessageError as error:
        return error.message


def split(translated: Iterable[Translated]) -> tuple[list[Translated], list[tuple[StreamEntry, StatusEvent]]]:
    """Those that can be appended at once, and the completions, each with what follows it about its generation."""
    completed: set[UUID] = set()
    prompt: list[Translated] = []
    waiting: list[tuple[StreamEntry, StatusEvent]] = []
    for entry, found in translated:
        if isinstance(found, GenerationCompleted):
            completed.add(found.generation_id)
        if isinstance(found, InvalidMessage) or found.generation_id not in completed:
            prompt.append((entry, found))
        else:
            waiting.append((entry, found))
    return prompt, waiting


def without_output(event: GenerationCompleted) -> GenerationFailed:
    """For a completion whose object is not in the object store: a failure never hides under `completed`."""
    key = event.outputs[0].object_key
    message = f"the worker reported {key}, which is not in the object store"[:ERROR_MAX_CHARACTERS]
    failure = Failure(code=OBJECT_MISSING, message=message, retryable=False)
    return GenerationFailed(
        id=event.id,
        generation_id=event.generation_id,
        occurred_at=event.occurred_at,
        producer=event.producer,
        traceparent=event.traceparent,
        error=failure,
    )


def unknown_owner(event: GenerationCompleted) -> InvalidMessage:
    key = _shown(event.outputs[0].object_key)
    return InvalidMessage("unknown_generation", f"there is no generation {event.generation_id} to own s3Key {key}")


def foreign_object(event: GenerationCompleted) -> InvalidMessage:
    """For a completion with an object of another user than the generation's."""
    return InvalidMessage("foreign_s3_key", f"s3Key {_shown(event.outputs[0].object_key)} is another user's")


def dead_letter(entry: StreamEntry, invalid: InvalidMessage) -> dict[str, str]:
    """The entry for `DEAD_STREAM`: the original fields, and the reason."""
    why = {"reason": invalid.reason, "detail": invalid.detail, "entry_id": entry.id}
    return {**entry.fields, **{f"{DEAD_PREFIX}{name}": text for name, text in why.items()}}


def _event(entry: StreamEntry, now: datetime) -> StatusEvent:
    fields = entry.fields
    if not fields:
        raise _InvalidMessageError("deleted", "the entry was deleted before it was acknowledged")
    if sum(len(name) + len(value) for name, value in fields.items()) > ENTRY_MAX_CHARACTERS:
        raise _InvalidMessageError("oversize", f"an entry holds at most {ENTRY_MAX_CHARACTERS} characters")
    generation_id = _generation_id(fields)
    envelope = EventStamp(
        uuid5(_NAMESPACE, f"{STATUS_STREAM}/{entry.id}"),
        _occurred_at(entry, now),
        "bridge",
        traceparent=valid_traceparent(fields.get("traceparent")),
    ).envelope(generation_id)
    match fields.get("status"):
        case "processing":
            return GenerationStarted(**envelope)
        case "completed":
            return GenerationCompleted(**envelope, outputs=(Output(object_key=_s3_key(fields)),))
        case "failed":
            failure = Failure(code="worker_failed", message=_sentence(fields.get("error", "")), retryable=False)
            return GenerationFailed(**envelope, error=failure)
        case None:
            raise _InvalidMessageError("no_status", "status is missing")
        case other:
            raise _InvalidMessageError(
                "unknown_status", f"status is {_shown(other)}, not one of processing, completed, failed"
            )


def _generation_id(fields: Mapping[str, str]) -> UUID:
    text = fields.get("mediaId")
    if not text:
        raise _InvalidMessageError("no_media_id", "mediaId is missing")
    try:
        generation_id = UUID(text)
    except ValueError:
        generation_id = None
    if generation_id is None or str(generation_id) != text.lower():
        raise _InvalidMessageError("bad_media_id", f"mediaId is {_shown(text)}, not a UUID")
    return generation_id


def _s3_key(fields: Mapping[str, str]) -> str:
    key = fields.get("s3Key")
    if not key:
        raise _InvalidMessageError("no_s3_key", "s3Key is missing from a completed job")
    if key != _readable(key):
        raise _InvalidMessageError("bad_s3_key", "s3Key holds a NUL or bytes that are not UTF-8")
    try:
        return _object_key.validate_python(key)
    except ValidationError:
        raise _InvalidMessageError("bad_s3_key", f"s3Key has {len(key)} characters; the limit is 1024") from None


def _occurred_at(entry: StreamEntry, now: datetime) -> datetime:
    try:
        stamped = datetime.fromtimestamp(entry.unix_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return now
    return stamped if abs(stamped - now) <= BELIEVABLE_AGE else now


def _sentence(error: str) -> str:
    """An error as one sentence: the last line of a traceback, without unreadable characters, shortened."""
    lines = [line.strip() for line in _readable(error).splitlines() if line.strip()]
    if not lines:
        return "the worker gave no reason"
    text = lines[-1] if any(line.startswith("Traceback ") for line in lines) else " ".join(lines)
    return text[:ERROR_MAX_CHARACTERS]


def _readable(text: str) -> str:
    """NUL and bytes that were not UTF-8 become U+FFFD."""
    return _UNREADABLE.sub("\ufffd", text)


def _shown(text: str) -> str:
    return repr(_readable(text[:80]))
