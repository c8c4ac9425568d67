"""Decompresses the records of a batch with any of Kafka's codecs, up to a size limit."""

import zlib
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, TypeAlias

import cramjam

PLAIN_MAX_BYTES: Final = 64 * 1024 * 1024
"""A batch is at most 1.1 MB as it is stored: more than sixty times that is a decompression bomb, not events."""

FIRST_BUFFER_BYTES: Final = 256 * 1024
BUFFER_IS_FULL: Final = "whole buffer"  # cramjam's words, with which it also reports other faults as the same class
GZIP: Final = 31  # zlib's window bits for the gzip format
XERIAL_HEADER: Final = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES: Final = 16
_BLOCK_LENGTH: Final = Struct(">i")

DecompressInto: TypeAlias = Callable[[bytes, bytearray], int]


def decompress(codec: int, data: bytes) -> bytes:
    """Raises ValueError for an unknown codec, for more than PLAIN_MAX_BYTES, and for bytes that are not of the
    codec."""
    try:
        return _decompress(codec, data)
    except (cramjam.DecompressionError, zlib.error, EOFError) as error:
        raise ValueError(f"the records cannot be decompressed: {error}") from error


def _decompress(codec: int, data: bytes) -> bytes:
    match codec:
        case 0:
            return data
        case 1:
            return _gunzip(data)
        case 2:
            return _unsnap(data)
        case 3:
            return _in_growing_buffer(cramjam.lz4.decompress_into, data)
        case 4:
            return _in_growing_buffer(cramjam.zstd.decompress_into, data)
        case _:
            raise ValueError(f"Kafka has no codec {codec}")


def _gunzip(data: bytes) -> bytes:
    """A gzip file may have several members."""
    plain = b""
    while data:
        member = zlib.decompressobj(GZIP)
        plain += member.decompress(data, PLAIN_MAX_BYTES + 1 - len(plain))
        if len(plain) > PLAIN_MAX_BYTES:
            raise _too_large()
        if not member.eof:
            raise EOFError("the gzip data is cut off")
        data = member.unused_data
    return plain


def _unsnap(data: bytes) -> bytes:
    blocks = _xerial_blocks(data[XERIAL_HEADER_BYTES:]) if data.startswith(XERIAL_HEADER) else [data]
    plain = b""
    for block in blocks:
        if len(plain) + cramjam.snappy.decompress_raw_len(block) > PLAIN_MAX_BYTES:
            raise _too_large()
        plain += bytes(cramjam.snappy.decompress_raw(block))
    return plain


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    """The format of Java's snappy streams: each block after its length."""
    at = 0
    while at < len(data):
        if len(data) - at < _BLOCK_LENGTH.size:
            raise EOFError("the snappy data is cut off")
        (length,) = _BLOCK_LENGTH.unpack_from(data, at)
        at += _BLOCK_LENGTH.size
        if not 0 < length <= len(data) - at:
            raise EOFError("a snappy block is cut off")
        yield data[at : at + length]
        at += length


def _in_growing_buffer(decompress_into: DecompressInto, data: bytes) -> bytes:
    size = min(PLAIN_MAX_BYTES, max(FIRST_BUFFER_BYTES, 8 * len(data)))
    while True:
        buffer = bytearray(size)
        try:
            return bytes(buffer[: decompress_into(data, buffer)])
        except cramjam.DecompressionError as error:
            if BUFFER_IS_FULL not in str(error):
                raise
            if size == PLAIN_MAX_BYTES:
                raise _too_large() from error
            size = min(PLAIN_MAX_BYTES, 4 * size)


def _too_large() -> ValueError:
    return ValueError(f"the records are larger than {PLAIN_MAX_BYTES} bytes without compression")
