"""The object store in memory."""

from typing import Final

from gengui_stream.errors import TransientError
from gengui_stream.media.object_store import ObjectFacts
from gengui_stream.media.store_errors import ObjectMissing, ObjectTooLarge


class InMemoryObjectStore:
    """One bucket: `objects` holds the body and the content type of each key. `available`: while it is False, every
    method raises TransientError."""

    def __init__(self) -> None:
        self.objects: Final[dict[str, tuple[bytes, str]]] = {}
        self.available = True

    async def get(self, key: str, max_bytes: int) -> bytes:
        self._check_available()
        if key not in self.objects:
            raise ObjectMissing(f"there is no object {key}")
        body, _ = self.objects[key]
        if len(body) > max_bytes:
            raise ObjectTooLarge(f"{key}: {len(body)} bytes; the limit is {max_bytes}")
        return body

    async def head(self, key: str) -> ObjectFacts | None:
        self._check_available()
        if key not in self.objects:
            return None
        body, content_type = self.objects[key]
        return ObjectFacts(len(body), content_type)

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        self._check_available()
        self.objects[key] = (body, content_type)

    async def remove(self, key: str) -> None:
        self._check_available()
        self.objects.pop(key, None)

    def _check_available(self) -> None:
        if not self.available:
            raise TransientError("the object store is unavailable")
