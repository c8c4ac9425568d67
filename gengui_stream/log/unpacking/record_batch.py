"""Unpacks a record batch: aiokafka's parser for what it takes, a tolerant one for the rest. Total.

https://kafka.apache.org/documentation/#recordbatch
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple, Protocol

from aiokafka.record.default_records import DefaultRecordBatch

from gengui_stream.log.unpacking.decompression import decompress
from gengui_stream.log.unpacking.records import ControlRecord, LogRecord, RawRecord, UnreadableRecord

HEADER: Final = Struct(">qiibIhiqqqhii")
PREFIX_BYTES: Final = 12
"""The base offset and the length, which does not cover them."""

ATTRIBUTES_AT: Final = 21
CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
CONTROL: Final = 0x20

RECORDS_MAX: Final = 1_000_000
"""No batch of 1.1 MB has more records, but for records without key and value."""


class BatchHeader(NamedTuple):
    """`last_offset_delta`: of the last record's offset from `base_offset`."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta


class _ParsedRecord(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class _PlainRecord(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def unpack_batch(partition: int, batch: bytes, expected: int, next_batch: int | None = None) -> Iterator[LogRecord]:
    """The records of a batch from the offset `expected` on: one for each offset up to the batch's last. When the header
    itself cannot be trusted, one unreadable record at `expected`. `next_batch`: the first offset of the batch after
    it, if that is there."""
    header = _trusted_header(batch, expected, next_batch)
    if isinstance(header, str):
        yield UnreadableRecord(partition, expected, None, batch, header)
        return
    first = max(expected, header.base_offset)
    if header.attributes & CONTROL:
        for offset in range(first, header.last_offset + 1):
            yield ControlRecord(partition, offset, header.max_timestamp)
        return
    reader = _BatchReader(partition, batch, header, first)
    yield from reader.records()
    yield from reader.unreadable()


def _trusted_header(batch: bytes, expected: int, next_batch: int | None) -> BatchHeader | str:
    """The header; or why its offsets cannot be trusted."""
    if len(batch) < HEADER.size:
        return f"the batch has {len(batch)} bytes, and its header alone {HEADER.size}"
    header = BatchHeader._make(HEADER.unpack_from(batch))
    if header.magic != 2:
        return f"the batch has the format {header.magic}, which this version cannot read"
    if not DefaultRecordBatch(batch).validate_crc():
        return "the batch does not have its checksum"
    offsets = header.last_offset_delta + 1
    if not 0 < offsets <= RECORDS_MAX or offsets != header.records or header.last_offset < expected:
        return f"the batch has the offsets {header.base_offset} to {header.last_offset}, and {header.records} records"
    if next_batch is not None and expected < next_batch <= header.last_offset:
        return f"the batch has offsets up to {header.last_offset}, and the next one begins at {next_batch}"
    return header


class _BatchReader:
    """Reads each offset of a batch once, in order."""

    def __init__(self, partition: int, batch: bytes, header: BatchHeader, first: int) -> None:
        self._partition, self._batch, self._header = partition, batch, header
        self._next = first
        self._fault = "the batch has fewer records than offsets"

    def records(self) -> Iterator[RawRecord]:
        """Up to the first record that cannot be read."""
        try:
            plain = decompress(self._header.attributes & CODEC_MASK, self._batch[HEADER.size :])
            try:
                yield from self._in_order(DefaultRecordBatch(self._uncompressed(plain)))
            except Exception:  # noqa: BLE001 - whatever aiokafka raises: the tolerant parser continues
                yield from self._in_order(_parsed_tolerantly(self._header, plain))
        except ValueError as error:
            self._fault = str(error)

    def _uncompressed(self, plain: bytes) -> bytes:
        """The batch as aiokafka's parser takes it without a codec of its own."""
        attributes = self._header.attributes
        if not attributes & CODEC_MASK:
            return self._batch
        rest = self._batch[ATTRIBUTES_AT + 2 : HEADER.size]
        without_codec = (attributes & ~CODEC_MASK).to_bytes(2, signed=True)
        return b"".join((self._batch[:ATTRIBUTES_AT], without_codec, rest, plain))

    def _in_order(self, found: Iterable[_ParsedRecord]) -> Iterator[RawRecord]:
        partition, last = self._partition, self._header.last_offset
        for record in found:
            offset = record.offset
            if offset < self._next:
                continue
            if offset != self._next or offset > last:
                raise ValueError(f"the batch has offset {offset} in place of {self._next}")
            self._next = offset + 1
            yield RawRecord(partition, offset, record.timestamp, record.key, record.value)

    def unreadable(self) -> Iterator[UnreadableRecord]:
        """The remaining offsets of the batch."""
        first, last = self._next, self._header.last_offset
        for offset in range(first, last + 1):
            detail = self._fault if offset == first else f"of the batch at {self._partition}:{first}: {self._fault}"
            yield UnreadableRecord(
                self._partition, offset, self._header.max_timestamp, self._batch if offset == first else None, detail
            )


def _parsed_tolerantly(header: BatchHeader, plain: bytes) -> Iterator[_PlainRecord]:
    """Without the headers of records, which may hold anything. Raises ValueError at the first record whose key and
    value do not fit into it."""
    at = 0
    for _ in range(header.last_offset_delta + 1):
        length, start = _varint(plain, at)
        at = start + length
        if length <= 0 or at > len(plain):
            raise ValueError(f"a record of {length} bytes does not fit into its batch")
        yield _record(header, plain[start:at])


def _record(header: BatchHeader, body: bytes) -> _PlainRecord:
    delta_ms, at = _varint(body, 1)  # after the attributes, which have no meaning yet
    offset_delta, at = _varint(body, at)
    key, at = _bytes(body, at)
    value, at = _bytes(body, at)
    _check_headers(body, at)
    appended = header.attributes & LOG_APPEND_TIME
    timestamp = header.max_timestamp if appended else header.first_timestamp + delta_ms
    return _PlainRecord(header.base_offset + offset_delta, timestamp, key, value)


def _check_headers(body: bytes, at: int) -> None:
    """Their names need not be text, but they must fill the record."""
    count, at = _varint(body, at)
    for _ in range(2 * count):
        _, at = _bytes(body, at)
    if count < 0 or at != len(body):
        raise ValueError("the headers of a record do not fill it")


def _bytes(body: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, at)
    if length < 0:
        return None, at
    if at + length > len(body):
        raise ValueError("a key or a value is longer than its record")
    return body[at : at + length], at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number and the index after it."""
    value = shift = 0
    while shift <= 63:
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise ValueError("a number has more than 64 bits")
