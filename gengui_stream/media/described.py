"""Describes an image whose worker said nothing of it, by its header and bytes alone."""

import hashlib
import io
from typing import Final

from PIL import Image

from gengui_stream.media.inspection import SIDE_MAX
from gengui_stream.media.thumbnails import FORMATS
from schemas.events import SourceImage

MIME_TYPES: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
}


def describe(body: bytes) -> SourceImage | None:
    """None for what has no thumbnail either, and for sides that an event cannot hold."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            mime_type, (width, height) = MIME_TYPES.get(image.format or ""), image.size
    except Exception:  # noqa: BLE001 - there is no list of what Pillow's decoders raise for hostile bytes
        return None
    if mime_type is None or max(width, height) > SIDE_MAX:
        return None
    digest = hashlib.sha256(body).hexdigest()
    return SourceImage(mime_type=mime_type, width=width, height=height, bytes=len(body), sha256=digest)
