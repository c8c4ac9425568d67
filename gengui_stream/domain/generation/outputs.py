"""The results of a generation and what becomes of their thumbnails."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from gengui_stream.domain.generation.state import StoredOutput, Thumbnail
from schemas.events import Output, ThumbnailCreated, ThumbnailFailed


def stored(outputs: Sequence[Output]) -> tuple[StoredOutput, ...]:
    """With ids that tell them apart: their own, or their places when two of them share one."""
    own = [output.id for output in outputs]
    ids = own if len(set(own)) == len(own) else [str(place) for place in range(len(own))]
    return tuple(
        StoredOutput(id_, o.object_key, o.mime_type, o.width, o.height, o.bytes, o.sha256)
        for id_, o in zip(ids, outputs, strict=True)
    )


def awaits(output: StoredOutput, event: ThumbnailCreated | ThumbnailFailed) -> bool:
    """Whether the event tells something new of the revision it is about: a thumbnail may still come after a refusal,
    nothing after a thumbnail."""
    already_refused = output.thumbnail_error is not None and isinstance(event, ThumbnailFailed)
    return not output.has_current_thumbnail and not already_refused


def with_thumbnail(output: StoredOutput, event: ThumbnailCreated | ThumbnailFailed) -> StoredOutput:
    match event:
        case ThumbnailCreated():
            made = Thumbnail(event.object_key, event.mime_type, event.width, event.height, event.bytes, event.revision)
            return replace(output, thumbnail=made, thumbnail_error=None)
        case ThumbnailFailed():
            return replace(output, thumbnail_error=event.reason)
        case _:
            assert_never(event)
