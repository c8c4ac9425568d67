"""Inspects the bytes of an alleged image by decoding all of it: run it in a thread."""

import io
from dataclasses import dataclass
from functools import partial
from typing import Final

from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from gengui_stream.media.decoding import decoded

FORMATS: Final = tuple(
    decoder.format
    for decoder in (PngImagePlugin.PngImageFile, JpegImagePlugin.JpegImageFile, WebPImagePlugin.WebPImageFile)
)
"""The formats of providers. Pillow knows a format once its module is imported."""

MIME_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp"}
"""MPO is Pillow's name for a JPEG with a second image, such as a gain map."""

SIDE_MAX: Final = 65_535
"""The limit of an event's field."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """By the bytes, independent of any declaration."""

    mime_type: str
    width: int
    height: int


def inspect_image(body: bytes, max_pixels: int) -> ImageFacts | str:
    """The facts, or why the bytes are not an image within the limit that a browser shows completely."""
    try:
        return decoded(body, partial(_facts, max_pixels=max_pixels))
    except UnidentifiedImageError:
        return "neither PNG, JPEG nor WebP"
    except Exception as error:  # noqa: BLE001 - there is no list of what Pillow's decoders raise for hostile bytes
        return f"{type(error).__name__}: {str(error)[:200]}"


def _facts(body: bytes, *, max_pixels: int) -> ImageFacts | str:
    with Image.open(io.BytesIO(body), formats=FORMATS) as image:
        if max(image.size) > SIDE_MAX:
            return f"{image.width} x {image.height} pixels; no side may have more than {SIDE_MAX}"
        if image.width * image.height > max_pixels:
            return f"{image.width} x {image.height} pixels; the limit is {max_pixels}"
        image.load()
        return ImageFacts(MIME_TYPES[image.format or ""], image.width, image.height)
