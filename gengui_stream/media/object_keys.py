"""Keys in the bucket: those of the original service, so that both can read one bucket."""

import re
from typing import Final
from uuid import UUID

from schemas.fields import written_uuid

FIRST_OUTPUT: Final = "0"

_OWNED: Final = re.compile(r"users/([^/]*)/")

_ODD: Final = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\x00-\x1f\x7f]")
"""A segment that is empty, `.` or `..`, a backslash, or a control character."""

_EXTENSIONS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    "image/tiff": ".tiff",
}


def media_key(owner_id: UUID, generation_id: UUID, mime_type: str, output_id: str = FIRST_OUTPUT) -> str:
    """The key of an image. Only outputs after the first have their id in it."""
    return f"users/{owner_id}/media/{_file(generation_id, mime_type, output_id)}"


def thumbnail_key(owner_id: UUID, generation_id: UUID, mime_type: str, output_id: str = FIRST_OUTPUT) -> str:
    """The key of that image's thumbnail."""
    return f"users/{owner_id}/media/thumbs/{_file(generation_id, mime_type, output_id)}"


def owner_of(object_key: str) -> UUID | None:
    """The user whose object it is; None for a key of another layout."""
    found = _OWNED.match(object_key)
    try:
        return written_uuid(found[1]) if found else None
    except ValueError:
        return None


def is_plain(object_key: str) -> bool:
    """Whether every store and client reads the key alike. To S3 `users/a/../b` is a key under `users/a/`; a store over
    a file system, and libraries that normalize URLs, make `users/b` of it."""
    return _ODD.search(object_key) is None


def leased_prefix(owner_id: UUID, generation_id: UUID, lease: str) -> str:
    """Begins the keys of what a worker uploads under one lease: no other worker with the same job overwrites it."""
    return f"users/{owner_id}/media/{generation_id}.{lease}"


def leased_media_key(
    owner_id: UUID, generation_id: UUID, lease: str, mime_type: str, output_id: str = FIRST_OUTPUT
) -> str:
    """The key of an image that a worker uploads under a lease."""
    suffix = "" if output_id == FIRST_OUTPUT else f"-{output_id}"
    return f"{leased_prefix(owner_id, generation_id, lease)}{suffix}{_EXTENSIONS.get(mime_type, '.bin')}"


def _file(generation_id: UUID, mime_type: str, output_id: str) -> str:
    suffix = "" if output_id == FIRST_OUTPUT else f"-{output_id}"
    return f"{generation_id}{suffix}{_EXTENSIONS.get(mime_type, '.bin')}"
