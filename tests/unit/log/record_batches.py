"""Record batches as a broker stores them, and damage to them."""

import random
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Final

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tests.events import FakeRecord

CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
COMPRESSORS: Final[Mapping[int, Callable[[bytes], bytes]]] = {
    0: bytes,
    1: gzip_encode,
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}
HEADER_NAME: Final = "a-header-name"
HEADER_BYTES: Final = 61

_CRC: Final = Struct(">I")
CRC_AT: Final = 17
CHECKED_FROM: Final = 21
_INT16: Final = Struct(">h")
_INT32: Final = Struct(">i")
_INT64: Final = Struct(">q")


def stored_batch(records: Sequence[FakeRecord], *, codec: int = 0, first: int | None = None) -> bytes:
    """A batch of these records with consecutive offsets, from `first` or the first record's own on."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 24)
    for delta, record in enumerate(records):
        builder.append(delta, record.timestamp or 0, record.key, record.value, [(HEADER_NAME, b"value")])
    batch = bytearray(builder.build())
    _INT64.pack_into(batch, 0, records[0].offset if first is None else first)
    return bytes(batch)


def control_batch(offset: int) -> bytes:
    """The mark with which a broker ends a transaction: it aborts it."""
    batch = bytearray(stored_batch([FakeRecord(offset, 1_780_000_000_000, b"\0\0\0\0", b"\0\0\0\0\0\0")]))
    attributes = _INT16.unpack_from(batch, CHECKED_FROM)[0]
    _INT16.pack_into(batch, CHECKED_FROM, attributes | 0x30)
    return with_checksum(batch)


def with_checksum(batch: bytes | bytearray) -> bytes:
    """The batch with the checksum of its content."""
    whole = bytearray(batch)
    _CRC.pack_into(whole, CRC_AT, calc_crc32c(bytes(whole[CHECKED_FROM:])))
    return bytes(whole)


def with_length(batch: bytes | bytearray) -> bytes:
    whole = bytearray(batch)
    _INT32.pack_into(whole, 8, len(whole) - 12)
    return bytes(whole)


def damaged(batch: bytes, source: random.Random) -> bytes:
    """The batch after one to three mutations; mostly with a correct length and checksum, so that they are parsed."""
    whole = bytearray(batch)
    for _ in range(source.randrange(1, 4)):
        mutate(whole, source)
    if len(whole) > CHECKED_FROM and source.random() < 0.8:
        whole = bytearray(with_length(whole)) if source.random() < 0.9 else whole
        return with_checksum(whole)
    return bytes(whole)


def mutate(whole: bytearray, source: random.Random) -> None:
    at = source.randrange(len(whole) + 1) if source.random() < 0.6 else source.randrange(min(len(whole), 61) + 1)
    match source.randrange(5):
        case 0 if at < len(whole):
            whole[at] ^= 1 << source.randrange(8)
        case 1 if at < len(whole):
            whole[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 2:
            whole[at : at + 4] = source.choice((b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        case 3:
            del whole[at : at + source.randrange(1, 40)]
        case _:
            whole[at:at] = source.randbytes(source.randrange(1, 12))


def compressed(batch: bytes, codec: int) -> bytes:
    """An uncompressed batch with its records compressed, whatever they are."""
    attributes = _INT16.unpack_from(batch, CHECKED_FROM)[0] | codec
    header = batch[:CHECKED_FROM] + _INT16.pack(attributes) + batch[CHECKED_FROM + 2 : HEADER_BYTES]
    return with_checksum(with_length(header + COMPRESSORS[codec](batch[HEADER_BYTES:])))
