"""The outputs of a generation and the state of their thumbnails."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from gengui_stream.domain.generation.state import StoredOutput, Thumbnail
from schemas.events import Output, ThumbnailCreated, ThumbnailFailed


def stored(outputs: Sequence[Output]) -> tuple[StoredOutput, ...]:
    """The outputs under unique ids: their own, or their list positions when two of them share an id."""
    own = [output.id for output in outputs]
    ids = own if len(set(own)) == len(own) else [str(index) for index in range(len(own))]
    return tuple(
        StoredOutput(id_, o.object_key, o.mime_type, o.width, o.height, o.bytes, o.sha256)
        for id_, o in zip(ids, outputs, strict=True)
    )


def awaits(output: StoredOutput, event: ThumbnailCreated | ThumbnailFailed) -> bool:
    """Whether the event changes the output: a thumbnail may follow a failure; nothing follows a thumbnail."""
    already_failed = output.thumbnail_error is not None and isinstance(event, ThumbnailFailed)
    return not output.has_current_thumbnail and not already_failed


def with_thumbnail(output: StoredOutput, event: ThumbnailCreated | ThumbnailFailed) -> StoredOutput:
    """A result of a later revision than the last one requested implies its request."""
    match event:
        case ThumbnailCreated():
            made = Thumbnail(event.object_key, event.mime_type, event.width, event.height, event.bytes, event.revision)
            return replace(output, thumbnail=made, thumbnail_error=None, thumbnail_revision=event.revision)
        case ThumbnailFailed():
            return replace(output, thumbnail_error=event.reason, thumbnail_revision=event.revision)
        case _:
            assert_never(event)
