"""Converts events to the bytes of a record and back. Pure; `decode` is total.

The value of a record is the whole event as JSON and is authoritative. The headers repeat the envelope in the binary
mode of CloudEvents' Kafka binding (v1.0.2, section 3.2), so that routers and tools need not parse values.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Final, Protocol, TypeAlias
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from gengui_stream.log.unpacking.records import ControlRecord, UnreadableRecord
from schemas.events import AnyEvent, Event
from schemas.upcasting import CURRENT_VERSIONS, upcast


class KeyedRecord(Protocol):
    """A record of the log, from any consumer or from the database. `timestamp`: Unix milliseconds."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int | None: ...


Headers: TypeAlias = Sequence[tuple[str, bytes]]

VALUE_MAX_BYTES: Final = 1_000_000
"""Kafka's default limit of a record: this system never appends a larger one."""

INTEGER_MAX_CHARACTERS: Final = 18
"""A longer number does not fit into 64 bits with its sign."""

KEYS_REMEMBERED: Final = 16_384
"""A generation has some ten events, close together; parsing an id costs half as much as decoding an event."""

EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
CLOCK_SKEW_MAX: Final = timedelta(days=1)
"""The largest difference between an event's time and the record's timestamp at which the event is believed."""

_validator: Final = TypeAdapter[Event](AnyEvent).validator
"""Called directly: TypeAdapter adds a tenth to the cost of decoding."""


@dataclass(frozen=True, slots=True)
class UnknownType:
    """An event of a type, or of a schema version, that this process does not know: from a newer producer. Ignored.
    `version`: set when the type is known and its version is newer."""

    type: str
    generation_id: UUID | None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Undecodable:
    """The record holds no valid event. `generation_id`: the key, if it is a valid id."""

    reason: str
    detail: str
    generation_id: UUID | None


Decoded: TypeAlias = Event | UnknownType | Undecodable


def encode_key(event: Event) -> bytes:
    return str(event.generation_id).encode("ascii")


def encode_value(event: Event) -> bytes:
    return event.model_dump_json(exclude_none=True).encode()


def encode_headers(event: Event) -> list[tuple[str, bytes]]:
    """CloudEvents attributes with the prefix `ce_`; `content-type` is `datacontenttype`."""
    attributes = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": str(event.id),
        "ce_source": f"gengui/{event.producer}",
        "ce_type": event.type,
        "ce_time": event.occurred_at.isoformat(),
        "ce_subject": str(event.generation_id),
        "ce_dataschema": f"{event.type}.v{event.schema_version}.json",
        "ce_correlationid": event.correlation_id,
        "ce_traceparent": event.traceparent,
        "ce_tracestate": event.tracestate,
    }
    return [(name, value.encode()) for name, value in attributes.items() if value]


def decode_record(record: KeyedRecord) -> Decoded:
    """`decode` of a record of the log, or of an offset that holds none."""
    if isinstance(record, UnreadableRecord):
        return Undecodable("unreadable", record.detail, None)
    if isinstance(record, ControlRecord):
        return UnknownType("(transaction marker)", None)
    return decode(record.key, record.value)


def named_type(decoded: Decoded) -> str:
    """Of a record that cannot be decoded, the reason in brackets."""
    return f"({decoded.reason})" if isinstance(decoded, Undecodable) else decoded.type


def decode(key: bytes | None, value: bytes | None) -> Decoded:
    """The event of a record, or the reason why it has none. Never raises."""
    if not value:
        return Undecodable("empty", "the record has no value", _key_id(key))
    if len(value) > VALUE_MAX_BYTES:
        return Undecodable("too_large", f"{len(value)} bytes; the limit is {VALUE_MAX_BYTES}", _key_id(key))
    try:
        event: Event = _validator.validate_json(value)
    except ValidationError as error:
        return _read_again(key, value, error)
    return _of_key(key, event)


def generation_of(key: bytes | None) -> UUID | None:
    """The generation that a key names, if it is the canonical form of an id."""
    return _key_id(key)


@lru_cache(KEYS_REMEMBERED)
def _key_id(key: bytes | None) -> UUID | None:
    """Only the canonical form is valid: another spelling of the same id would hash to another partition."""
    try:
        generation_id = UUID(key.decode("ascii")) if key else None
    except ValueError:
        return None
    return generation_id if str(generation_id).encode() == key else None


def _of_key(key: bytes | None, event: Event) -> Event | Undecodable:
    return event if _key_id(key) == event.generation_id else _bad_key(key)


def _bad_key(key: bytes | None) -> Undecodable:
    """Key and event contradict each other, so no generation is named and none is parked."""
    if not key:
        return Undecodable("missing_key", "the key must be the generation id", None)
    return Undecodable("mismatched_key", "the key is not the generation_id of the event", None)


def _read_again(key: bytes | None, value: bytes, error: ValidationError) -> Decoded:
    """What is no event of a current version: one of an earlier version, or the reason why it is none."""
    generation_id = _key_id(key)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Undecodable("not_json", first["msg"], generation_id)
    given = as_document(value.decode())
    document = _with_whole_version(given)
    raised = (upcast(document) if isinstance(document, dict) else None) or document
    if raised is given:
        return _explain(document, error, generation_id)
    try:
        return _of_key(key, _validator.validate_python(raised))
    except ValidationError as still:
        return _explain(raised, still, generation_id)


def _with_whole_version(document: object) -> object:
    """JSON has one type of numbers: 1.0 is version 1."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(version, float) or not version.is_integer():
        return document
    return {**document, "schema_version": int(version)}


def _explain(document: object, error: ValidationError, generation_id: UUID | None) -> UnknownType | Undecodable:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    kind, place = first["type"], ".".join(str(part) for part in first["loc"]) or "value"
    if kind == "union_tag_invalid":
        return UnknownType(_type_of(document), generation_id)
    if (version := _newer_version(document)) is not None:
        return UnknownType(_type_of(document), generation_id, version)
    return Undecodable("wrong_schema", f"{place}: {first['msg']}"[:500], generation_id)


def _type_of(document: object) -> str:
    return str(document.get("type", "?"))[:100].replace("\x00", "") if isinstance(document, dict) else "?"


def _newer_version(document: object) -> int | None:
    """The version of the event, if it is of a later one than this process knows, whatever has changed with it."""
    if not isinstance(document, dict):
        return None
    version, current = document.get("schema_version"), CURRENT_VERSIONS.get(_type_of(document))
    newer = isinstance(version, int) and current is not None and version > current
    return version if newer else None


def as_document(value: str) -> object:
    """The value of a decodable record as a JSON document, for display. Numbers that JSON does not have or that do not
    fit become null: fields unknown to this version may hold them."""
    found: object
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = json.loads(value, parse_constant=lambda _: None, parse_float=_finite, parse_int=_fitting)
    return found


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _fitting(text: str) -> int | None:
    return int(text) if len(text) <= INTEGER_MAX_CHARACTERS else None


def plausible_time(occurred_at: datetime, appended_ms: int | None) -> bool:
    """Whether an event's time is believed. It depends only on the log, so that a replay decides the same.
    `appended_ms`: the record's timestamp in Unix milliseconds, if it has one."""
    if not EARLIEST <= occurred_at < LATEST:
        return False
    if appended_ms is None or appended_ms <= 0:
        return True
    return abs(occurred_at.timestamp() - appended_ms / 1000) <= CLOCK_SKEW_MAX.total_seconds()
