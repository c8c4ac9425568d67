"""What an offset of the log holds: a record, a record that cannot be unpacked, or a mark of a transaction."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class RawRecord(NamedTuple):
    """A record of the log without its headers. `timestamp`: Unix milliseconds."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that cannot be unpacked. `value`: its batch as stored, with the first of the batch's records that cannot
    be unpacked; None with the others."""

    partition: int
    offset: int
    timestamp: int | None
    value: bytes | None
    detail: str
    key: None = None


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """A mark with which the broker ends a producer's transaction."""

    partition: int
    offset: int
    timestamp: int | None
    key: None = None
    value: None = None


LogRecord: TypeAlias = RawRecord | UnreadableRecord | ControlRecord
