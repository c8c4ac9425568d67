"""The outputs of generations in the object store: what a provider returned is put there, and looked up there.

The object keys carry no attempt number: an image that an earlier attempt has left is as good a result as this one's.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import Bucket
from schemas.events import Output

if TYPE_CHECKING:
    from gengui_stream.media.inspection import ImageFacts

OUTPUTS_MAX: Final = 8
MIME_TYPES: Final = ("image/png", "image/jpeg", "image/webp")
"""The types whose object keys `find` tries."""


@dataclass(frozen=True, slots=True)
class NotAnImage:
    """Why the bytes were rejected."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStore:
    """Accepts images up to these limits. Methods raise TransientError while the object store is unavailable."""

    object_store: Bucket
    max_bytes: int
    max_pixels: int

    async def put(
        self, owner_id: UUID, generation_id: UUID, bodies: Sequence[bytes]
    ) -> tuple[Output, ...] | NotAnImage:
        """Stores all of them, or none if one is not an image. The first is stored last: once it is there, all are."""
        outputs: list[Output] = []
        for number, body in enumerate(bodies):
            output = await self._inspect(body, str(number), partial(media_key, owner_id, generation_id))
            if isinstance(output, NotAnImage):
                return output
            outputs.append(output)
        for output, body in reversed(list(zip(outputs, bodies, strict=True))):
            await self.object_store.put(output.object_key, body, output.mime_type or "")
        return tuple(outputs)

    async def find(self, owner_id: UUID, generation_id: UUID) -> tuple[Output, ...]:
        """The stored outputs of this generation; empty when there are none."""
        found: list[Output] = []
        while len(found) < OUTPUTS_MAX:
            output = await self._find_one(owner_id, generation_id, str(len(found)))
            if output is None:
                break
            found.append(output)
        return tuple(found)

    async def _find_one(self, owner_id: UUID, generation_id: UUID, output_id: str) -> Output | None:
        for mime_type in MIME_TYPES:
            output = await self.verify(media_key(owner_id, generation_id, mime_type, output_id), output_id)
            if isinstance(output, Output):
                return output
        return None

    async def verify(self, object_key: str, output_id: str = "0") -> Output | NotAnImage:
        """Reads the object and describes it by its bytes."""
        try:
            body = await self.object_store.get(object_key, self.max_bytes)
        except PermanentError as error:  # missing, too large, or an invalid key
            return NotAnImage(str(error)[:200])
        return await self._inspect(body, output_id, lambda *_: object_key)

    async def _inspect(self, body: bytes, output_id: str, key: Callable[[str, str], str]) -> Output | NotAnImage:
        if len(body) > self.max_bytes:
            return NotAnImage(f"{len(body)} bytes; the limit is {self.max_bytes}")
        facts, sha256 = await asyncio.to_thread(_facts_and_digest, body, self.max_pixels)
        if isinstance(facts, str):
            return NotAnImage(facts)
        return Output(
            id=output_id,
            object_key=key(facts.mime_type, output_id),
            mime_type=facts.mime_type,
            width=facts.width,
            height=facts.height,
            bytes=len(body),
            sha256=sha256,
        )


def _facts_and_digest(body: bytes, max_pixels: int) -> "tuple[ImageFacts | str, str]":
    # Pillow, which only processes that inspect images need.
    from gengui_stream.media.inspection import inspect_image  # noqa: PLC0415

    return inspect_image(body, max_pixels), hashlib.sha256(body).hexdigest()
