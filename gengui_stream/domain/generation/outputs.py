"""The outputs of a generation and the state of their thumbnails. Pure, as the whole fold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from gengui_stream.domain.generation.ignored import IgnoredReason
from gengui_stream.domain.generation.state import Generation, Status, StoredOutput, Thumbnail
from schemas.events import Output, SourceImage, ThumbnailCreated, ThumbnailFailed, ThumbnailRequested


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
            known = output if event.source is None else _described(output, event.source)
            return replace(known, thumbnail=made, thumbnail_error=None, thumbnail_revision=event.revision)
        case ThumbnailFailed():
            return replace(output, thumbnail_error=event.reason, thumbnail_revision=event.revision)
        case _:
            assert_never(event)


def _described(output: StoredOutput, source: SourceImage) -> StoredOutput:
    """Fills in what its worker has not said."""
    return replace(
        output,
        mime_type=output.mime_type or source.mime_type,
        width=output.width or source.width,
        height=output.height or source.height,
        bytes=source.bytes if output.bytes is None else output.bytes,
        sha256=output.sha256 or source.sha256,
    )


def apply_thumbnail(state: Generation, event: ThumbnailCreated | ThumbnailFailed) -> Generation | IgnoredReason:
    """Also after the deletion of the generation."""
    output = _output_of(state, event.output_id)
    if isinstance(output, IgnoredReason):
        return output
    if event.revision < output.thumbnail_revision:
        return IgnoredReason.OTHER_THUMBNAIL_REVISION
    if event.revision == output.thumbnail_revision and not awaits(output, event):
        return IgnoredReason.THUMBNAIL_EXISTS
    return _with_output(state, output, with_thumbnail(output, event))


def apply_thumbnail_request(state: Generation, event: ThumbnailRequested) -> Generation | IgnoredReason:
    """The present thumbnail stays until the new one is stored."""
    output = _output_of(state, event.output_id)
    if isinstance(output, IgnoredReason):
        return output
    if state.deleted_at is not None:
        return IgnoredReason.ALREADY_DELETED
    if event.revision <= output.thumbnail_revision:
        return IgnoredReason.THUMBNAIL_ALREADY_REQUESTED
    return _with_output(state, output, replace(output, thumbnail_revision=event.revision, thumbnail_error=None))


def _output_of(state: Generation, output_id: str) -> StoredOutput | IgnoredReason:
    if state.status is not Status.COMPLETED:
        return IgnoredReason.NOT_COMPLETED
    found = next((output for output in state.outputs if output.id == output_id), None)
    return IgnoredReason.UNKNOWN_OUTPUT if found is None else found


def _with_output(state: Generation, output: StoredOutput, changed: StoredOutput) -> Generation:
    outputs = tuple(changed if known is output else known for known in state.outputs)
    return state._replace(version=state.version + 1, outputs=outputs)


def delete_outputs(state: Generation) -> Generation | IgnoredReason:
    """Their objects are gone, whether or not the deletion is on record."""
    if state.status is not Status.COMPLETED:
        return IgnoredReason.NOT_COMPLETED
    return state._replace(version=state.version + 1, outputs=()) if state.outputs else IgnoredReason.ALREADY_DELETED
