"""Decodes what a browser shows: faults of metadata, or a missing end, hide no pixel.

Pillow refuses a whole file for a text it does not need, and either all incomplete files or none. So a file that it
refuses is tried again without the parts that show nothing.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from PIL import Image, JpegImagePlugin

from gengui_stream.media.jpeg_scans import has_all_scans

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

SHOWN_CHUNKS: Final = frozenset({b"tRNS", b"iCCP", b"eXIf"})
"""Of the ancillary chunks (PNG specification, 3rd edition, 5.6): transparency, colours, orientation. The others are
texts, dates, print sizes and the further frames of an animation."""

_PADDING: Final = b"\xa5\x5a\x3c\xc3" * 64

T = TypeVar("T")


def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """The result of `decode` for the most complete form of the file that it accepts. Raises its error for the file as
    it is if it accepts none."""
    fault: Exception | None = None
    for form in _forms(body):
        try:
            return decode(form)
        except Exception as error:  # noqa: BLE001 - there is no list of what Pillow's decoders raise for hostile bytes
            fault = fault or error
    raise fault or ValueError("no form of the file to decode")


def _forms(body: bytes) -> Iterator[bytes]:
    if body.startswith(PNG_SIGNATURE):
        for shown in (SHOWN_CHUNKS, frozenset({b"tRNS"}), frozenset[bytes]()):
            yield b"".join(_parts(body, shown))
        return
    yield body
    whole = body.removesuffix(JPEG_END[:1])
    if body.startswith(JPEG_START) and _lacks_only_its_end(whole):
        yield whole + JPEG_END


def _parts(png: bytes, shown: frozenset[bytes]) -> Iterator[memoryview]:
    """The signature and the chunks: all critical ones, and those in `shown` that are intact. What follows a torn length
    stays as it is."""
    view, start = memoryview(png), len(PNG_SIGNATURE)
    yield view[:start]
    while start + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, start)
        end = start + 12 + length
        if not _is_ancillary(kind) or (kind in shown and _is_intact(view[start:end])):
            yield view[start:end]
        start = end


def _is_ancillary(kind: bytes) -> bool:
    """By bit 5 of the first byte (5.4)."""
    return bool(kind[0] & 0x20)


def _is_intact(chunk: memoryview) -> bool:
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _lacks_only_its_end(jpeg: bytes) -> bool:
    """Whether all pixels are there: what follows the last byte then changes none. A decoder fills missing ones from
    whatever follows."""
    if not has_all_scans(jpeg):
        return False
    try:
        return _pixels(jpeg + JPEG_END) == _pixels(jpeg + _PADDING + JPEG_END)
    except Exception:  # noqa: BLE001 - as above
        return False


def _pixels(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg), formats=(JpegImagePlugin.JpegImageFile.format,)) as image:
        return image.tobytes()
