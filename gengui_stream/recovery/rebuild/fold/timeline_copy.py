"""Rows of the timeline in PostgreSQL's binary COPY format: there is one for every event.

The format is that of the documentation of COPY (a signature, then for each row the number of its fields, and for each
field its length and its bytes; -1 is null). asyncpg's own encoder looks up a codec for each value; knowing the columns
takes a third of its time.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct, pack
from typing import Final
from uuid import UUID

from gengui_stream.projections.timeline import TimelineRow

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + pack(">ii", 0, 0)
END: Final = pack(">h", -1)
NULL: Final = pack(">i", -1)

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Of PostgreSQL's timestamps, which count microseconds."""

MICROSECOND: Final = timedelta(microseconds=1)

_place: Final = Struct(">hi16sihiq").pack
_uuid: Final = Struct(">i16s").pack
_bigint: Final = Struct(">iq").pack
_int: Final = Struct(">ii").pack
_length: Final = Struct(">i").pack


def encoded(rows: Iterable[TimelineRow]) -> bytes:
    """A whole COPY of these rows, in the order of the fields of TimelineRow."""
    return b"".join((SIGNATURE, *map(_row, rows), END))


def _row(row: TimelineRow) -> bytes:
    generation_id, partition, log_offset, owner_id, event_id, type_, attempt, occurred_at, appended_at = row[:9]
    version, status, ignored, payload = row[9:]
    value = payload.encode()
    return b"".join(
        (
            _place(len(row), 16, generation_id.int.to_bytes(16), 2, partition, 8, log_offset),
            NULL if owner_id is None else _owner(owner_id),
            NULL if event_id is None else _uuid(16, event_id.int.to_bytes(16)),
            _text(type_),
            NULL if attempt is None else _int(4, attempt),
            NULL if occurred_at is None else _bigint(8, (occurred_at - EPOCH) // MICROSECOND),
            _bigint(8, (appended_at - EPOCH) // MICROSECOND),
            NULL if version is None else _int(4, version),
            NULL if status is None else _text(status),
            NULL if ignored is None else _text(ignored),
            _length(len(value)),
            value,
        )
    )


@lru_cache(1_024)
def _owner(owner_id: UUID) -> bytes:
    return _uuid(16, owner_id.bytes)


@lru_cache(1_024)
def _text(text: str) -> bytes:
    """Of a small set of texts: types, statuses, reasons."""
    value = text.encode()
    return _length(len(value)) + value
