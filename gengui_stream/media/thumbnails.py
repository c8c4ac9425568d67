"""Bytes of an image -> bytes of its thumbnail. Pure; safe to run in threads (Pillow releases the GIL).

An image that gets none is a value, not an exception: whatever bytes come in, the answer is one of the two.
"""

import io
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from gengui_stream.media.decoding import decoded
from gengui_stream.media.pixels import displayable, in_srgb, shrunk, upright

MIME_TYPE: Final = "image/webp"
QUALITY: Final = 80
ENCODER_EFFORT: Final = 2
"""WebP method, 0 to 6: less than half the time of the default (4), and files 7 % larger."""

_DECODERS: Final = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    AvifImagePlugin.AvifImageFile,
)
FORMATS: Final = tuple(decoder.format for decoder in _DECODERS)
"""Other formats are rejected: each decoder is attack surface for hostile bytes. Pillow knows a format once its module
is imported, so these are imported by name."""

_FOREIGN: Final = (
    *(b"%!PS", b"%PDF", b"<svg", b"<?xml", b"<!doctype svg", b"{\\rtf"),  # vectors and documents
    *(b"8BPS", b"gimp xcf", b"II\xbc\x01", b"FUJIFILM", b"IIRO", b"IIU\x00"),  # editors and cameras
    *(b"\x00\x00\x00\x0cJXL ", b"\xff\x0a", b"\x00\x00\x00\x0cjP", b"\xff\x4f\xff\x51", b"qoif", b"FLIF", b"BPG\xfb"),
    *(b"\x00\x00\x01\x00", b"\x00\x00\x02\x00", b"icns", b"DDS ", b"KTX ", b"\xabKTX"),  # icons and textures
    *(b"v/1\x01", b"#?RADIANCE", b"#?RGBE", b"PF\n", b"Pf\n", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7"),
    *(b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"PK\x03\x04", b"\x1f\x8b"),  # films and archives
)
"""The first bytes of images (or documents) of other formats."""

_FOREIGN_BRANDS: Final = (
    b"ftyphei",
    b"ftyphev",
    b"ftypmif1",
    b"ftypmsf1",
    b"ftypisom",
    b"ftypmp4",
    b"ftypqt",
    b"ftypcrx",
)
"""HEIF and films (ISO/IEC 14496-12), from the fifth byte on. AVIF has the same form, and is read."""


class Refusal(StrEnum):
    """Why an image has no thumbnail: the codes in `thumbnail.failed`."""

    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an image, and the size of its thumbnail: `side` of the box that it fits into."""

    side: int = 128
    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class MadeThumbnail:
    """An encoded thumbnail of `mime_type` MIME_TYPE."""

    body: bytes
    width: int
    height: int
    mime_type: str = MIME_TYPE


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no thumbnail; the message is for operators."""

    reason: Refusal
    message: str


def make_thumbnail(body: bytes, limits: Limits) -> MadeThumbnail | Refused:
    """The thumbnail fits the box and keeps the aspect ratio; it is never enlarged, and has at least one pixel per side.
    Of an animation, the first frame."""
    if len(body) > limits.max_bytes:
        return Refused(Refusal.TOO_LARGE, f"{len(body)} bytes; the limit is {limits.max_bytes}")
    try:
        return decoded(body, partial(_made, limits=limits))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return Refused(Refusal.TOO_MANY_PIXELS, str(error))
    except UnidentifiedImageError:
        return _unidentified(body)
    except Exception as error:  # noqa: BLE001 - there is no list of what Pillow's decoders raise for hostile bytes
        return _broken(error)


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size, scaled down if needed to fit a square box."""
    longest = max(width, height)
    if longest <= side:
        return width, height
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def _made(body: bytes, *, limits: Limits) -> MadeThumbnail | Refused:
    with Image.open(io.BytesIO(body), formats=FORMATS) as image:
        if image.width * image.height > limits.max_pixels:
            size = f"{image.width} x {image.height}"
            return Refused(Refusal.TOO_MANY_PIXELS, f"{size} pixels; the limit is {limits.max_pixels}")
        small = _small(image, limits.side)
    target = io.BytesIO()
    small.save(target, "WEBP", quality=QUALITY, method=ENCODER_EFFORT)
    return MadeThumbnail(target.getvalue(), small.width, small.height)


def _small(image: Image.Image, side: int) -> Image.Image:
    size = fitted(image.width, image.height, side)
    image.draft(None, size)  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that is still large enough
    image.load()
    return upright(in_srgb(shrunk(displayable(image), size), image), image)


def _unidentified(body: bytes) -> Refused:
    if not body:
        return Refused(Refusal.TRUNCATED, "the file is empty")
    if _is_foreign(body):
        return Refused(Refusal.UNSUPPORTED, f"none of {', '.join(FORMATS)}")
    return Refused(Refusal.UNREADABLE, "no image can be found in the file")


def _is_foreign(body: bytes) -> bool:
    text = body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
    return body.startswith(_FOREIGN) or text.startswith(_FOREIGN) or body[4:12].startswith(_FOREIGN_BRANDS)


def _broken(error: Exception) -> Refused:
    message = f"{type(error).__name__}: {error}"[:500].replace("\x00", "")
    ended = isinstance(error, EOFError) or "truncated" in message.lower()
    return Refused(Refusal.TRUNCATED if ended else Refusal.UNREADABLE, message)
