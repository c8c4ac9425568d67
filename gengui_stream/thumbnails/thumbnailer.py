"""Makes the thumbnail of one output: a stored object, or the reason why there is none."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.domain.generation.state import OBJECT_MISSING, Generation, StoredOutput
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.identifiers import process_name
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.media.described import describe
from gengui_stream.media.object_keys import thumbnail_key
from gengui_stream.media.object_store import Bucket
from gengui_stream.media.store_errors import ObjectMissing, ObjectTooLarge
from gengui_stream.media.thumbnails import Limits, MadeThumbnail, Refusal, Refused, make_thumbnail
from gengui_stream.metrics import Metrics
from gengui_stream.stamps import repeatable_stamp
from schemas.events import SourceImage, ThumbnailCreated, ThumbnailFailed

MISSING_TRIES: Final = 5
"""For an output reported before its upload is visible: some 15 seconds with the back-off."""

STORE_TRIES: Final = 20
"""For an unavailable object store: about a quarter of an hour. Also limits how often a job may crash its process."""

_EVENT_IDS: Final = UUID("6d0b8a5e-2f6d-5d0c-9a57-0d5f5b1f7c11")


@dataclass(frozen=True, slots=True)
class Stored:
    """The thumbnail is stored under `key`. `source`: of an output that its worker has not described."""

    key: str
    made: MadeThumbnail
    source: SourceImage | None = None


@dataclass(frozen=True, slots=True)
class NoThumbnail:
    """No thumbnail can be made. `reason` is for programs."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """A later try may succeed."""

    message: str


Result: TypeAlias = Stored | NoThumbnail | NotYet


class Thumbnailer:
    """Fetches, scales, stores. A repetition for the same output writes the same object."""

    def __init__(self, store: Bucket, threads: ThreadPoolExecutor, limits: Limits, metrics: Metrics) -> None:
        self._store = store
        self._threads = threads
        self._limits = limits
        self._metrics = metrics

    async def result(self, job: ClaimedJob, state: Generation, output: StoredOutput) -> Result:
        """Returns every failure of the store or of the image as a value."""
        if job.tries > STORE_TRIES:
            return NoThumbnail("gave_up", f"no process finished it in {STORE_TRIES} tries")
        try:
            return await self._stored(state, output)
        except ObjectMissing as error:
            return self._missing(job, error)
        except TransientError as error:
            return _bounded(job, STORE_TRIES, "store_unavailable", error)
        except ObjectTooLarge as error:
            return NoThumbnail(Refusal.TOO_LARGE, str(error))
        except PermanentError as error:
            return NoThumbnail("store_refused", str(error))

    def _missing(self, job: ClaimedJob, error: ObjectMissing) -> NoThumbnail | NotYet:
        found = _bounded(job, MISSING_TRIES, OBJECT_MISSING, error)
        if isinstance(found, NoThumbnail):
            self._metrics.outputs_missing.inc()
        return found

    async def _stored(self, state: Generation, output: StoredOutput) -> Result:
        body = await self._store.get(output.object_key, self._limits.max_bytes)
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._threads, self._make, body)
        match made:
            case Refused():
                return NoThumbnail(made.reason, made.message)
            case MadeThumbnail():
                key = thumbnail_key(state.owner_id, state.generation_id, made.mime_type, output.id)
                await self._store.put(key, made.body, made.mime_type)
                source = None if output.described else await loop.run_in_executor(self._threads, describe, body)
                return Stored(key, made, source)
            case _:
                assert_never(made)

    def _make(self, body: bytes) -> MadeThumbnail | Refused:
        began = time.perf_counter()
        made = make_thumbnail(body, self._limits)
        self._metrics.thumbnail_seconds.observe(time.perf_counter() - began)
        return made


def _bounded(job: ClaimedJob, tries: int, reason: str, error: Exception) -> NoThumbnail | NotYet:
    return NotYet(f"{reason}: {error}") if job.tries < tries else NoThumbnail(reason, str(error))


def created(job: ClaimedJob, output: StoredOutput, stored: Stored) -> ThumbnailCreated:
    """Repeatable: the event's id derives from the job's key."""
    return ThumbnailCreated(
        **_stamp(job, "created").envelope(job.generation_id),
        attempt=job.attempt,
        output_id=output.id,
        revision=output.thumbnail_revision,
        object_key=stored.key,
        mime_type=stored.made.mime_type,
        width=stored.made.width,
        height=stored.made.height,
        bytes=len(stored.made.body),
        source=stored.source,
    )


def failed(job: ClaimedJob, output: StoredOutput, failure: NoThumbnail) -> ThumbnailFailed:
    """Repeatable: the event's id derives from the job's key."""
    return ThumbnailFailed(
        **_stamp(job, "failed").envelope(job.generation_id),
        attempt=job.attempt,
        output_id=output.id,
        revision=output.thumbnail_revision,
        reason=str(failure.reason),
        message=failure.message[:2000].replace("\x00", ""),
    )


def _stamp(job: ClaimedJob, fact: str) -> EventStamp:
    return repeatable_stamp(_EVENT_IDS, f"{fact}:{job.key}", process_name("thumbnails"))
