"""Removes what workers over HTTP have uploaded without a result: their lease was lost, or the job ended otherwise.

Every key for which a signed URL is given out is kept on Redis until its generation has ended. The end never changes, so
an object that is none of its outputs then can be removed. A worker that never reports leaves nothing behind either.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from gengui_stream.domain.generation.state import Generation
from gengui_stream.domain.identifiers import unix_ms_of
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_store import Bucket
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.providers.local.redis_keys import JOB_KEPT_S, UPLOADS
from gengui_stream.redis_io.data_types import SortedSet
from gengui_stream.redis_io.handle import SharedRedis

CHECK_AFTER_S: Final = 600.0
"""Since a key was given out, and between two checks of it. Longer than its signed URL is valid, so that nothing is
uploaded after the check."""

SWEEP_EVERY_S: Final = 60.0
BATCH: Final = 200

_log = structlog.get_logger(__name__)


class Upload(NamedTuple):
    generation_id: UUID
    object_key: str


class Uploads:
    """The keys that were given out. Methods raise TransientError while Redis is unavailable."""

    def __init__(self, redis: SharedRedis, clock: Callable[[], float] = time.time) -> None:
        self._waiting = SortedSet(redis, UPLOADS)
        self._clock = clock

    async def add(self, upload: Upload) -> None:
        await self._waiting.put([_member(upload)], self._clock())

    async def due(self) -> list[Upload]:
        """The oldest, at most BATCH."""
        return [_upload(member) for member in await self._waiting.lowest(self._clock() - CHECK_AFTER_S, BATCH)]

    async def check_again(self, uploads: Collection[Upload]) -> None:
        await self._waiting.put([_member(upload) for upload in uploads], self._clock())

    async def forget(self, uploads: Collection[Upload]) -> None:
        await self._waiting.remove([_member(upload) for upload in uploads])

    def is_abandoned(self, upload: Upload) -> bool:
        """Whether its job is gone from Redis whatever became of it."""
        requested_ms = unix_ms_of(upload.generation_id)
        return requested_ms is None or requested_ms / 1000 < self._clock() - JOB_KEPT_S


async def sweep(uploads: Uploads, pool: Pool, store: Bucket) -> int | None:
    """Removes the objects of one batch that are no outputs; returns their number, or None when nothing was due.
    Raises TransientError, after which the batch is due again."""
    due = await uploads.due()
    if not due:
        return None
    with transient_errors():
        states = await generation_states.load(pool, list({upload.generation_id for upload in due}))
    unused = [one for one in due if _has_ended(one, states) and not _is_output(one, states)]
    for upload in unused:
        await _remove(store, upload)
    later = [one for one in due if not _has_ended(one, states) and not uploads.is_abandoned(one)]
    await uploads.check_again(later)
    await uploads.forget([one for one in due if one not in later])
    return len(unused)


async def keep_sweeping(uploads: Uploads, pool: Pool, store: Bucket, removed: Callable[[int], None]) -> None:
    """Without end; calls `removed` with the number of each batch. Any number of processes may do it."""
    while True:
        number: int | None = None
        try:
            number = await sweep(uploads, pool, store)
            removed(number or 0)
        except TransientError as error:
            _log.warning("uploads_not_swept", error=str(error))
        if number is None:
            await asyncio.sleep(SWEEP_EVERY_S)


async def _remove(store: Bucket, upload: Upload) -> None:
    try:
        await store.remove(upload.object_key)
    except PermanentError as error:  # the right to delete may be missing: the object stays
        _log.warning("upload_not_removed", generation_id=str(upload.generation_id), error=str(error))


def _has_ended(upload: Upload, states: Mapping[UUID, Generation]) -> bool:
    """A generation that the projections do not know may be one that they have not restored yet."""
    state = states.get(upload.generation_id)
    return state is not None and state.terminal


def _is_output(upload: Upload, states: Mapping[UUID, Generation]) -> bool:
    return any(output.object_key == upload.object_key for output in states[upload.generation_id].outputs)


def _member(upload: Upload) -> str:
    return f"{upload.generation_id} {upload.object_key}"


def _upload(member: str) -> Upload:
    generation_id, _, object_key = member.partition(" ")
    return Upload(UUID(generation_id), object_key)
