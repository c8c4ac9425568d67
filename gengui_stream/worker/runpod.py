"""Jobs of a RunPod worker by the contract in `schemas.runpod_worker`: paint, store, return what was stored.

RunPod's SDK is not imported here: `deploy/runpod/handler.py` connects the two. An exception fails the job.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from pydantic import ValidationError

from gengui_stream.fault_sentences import placed
from gengui_stream.media.inspection import ImageFacts, inspect_image
from gengui_stream.media.object_store import Bucket
from gengui_stream.settings import Settings, load_settings
from gengui_stream.worker.job import SIDE_MIN
from gengui_stream.worker.painter.rendering import Sketch, blank, encode_png, paint
from schemas.fields import SIZE_MAX
from schemas.runpod_worker import InlineImage, RunpodWorkerInput, StoredImage

PROGRESS_EVERY: Final = 0.25
"""As a share of the job: each update is a request of the SDK to RunPod."""

PIXELS_MAX: Final = 64_000_000

INLINE_MAX_BYTES: Final = 14_000_000
"""RunPod's limit for an output is 20 MB, and base64 makes four bytes of three."""

Report: TypeAlias = Callable[[float], None]
"""Takes the completed share of the job, 0 to 1."""

Painter: TypeAlias = Callable[[RunpodWorkerInput, Report], bytes]
"""Returns the encoded image, PNG, JPEG or WebP. Runs in a thread of its own. An exception fails the job."""

Progress: TypeAlias = Callable[[Mapping[str, object]], None]


def store_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of the object store alone: RunPod sets variables in its containers (such as RUNPOD_ENDPOINT_ID) that
    are settings of another meaning here. Raises ConfigurationError."""
    given = {name: value for name, value in environ.items() if name.startswith(("S3_", "AWS_"))}
    return load_settings(given, env_files=())


class RunpodWorker:
    """Runs jobs, each in a thread, several concurrently. `paint`: your own model; default the reference painter."""

    def __init__(self, store: Bucket, paint: Painter | None = None) -> None:
        self._store = store
        self._paint = paint or paint_sketch
        self._threads = ThreadPoolExecutor(thread_name_prefix="paint")

    async def handle(self, given: object, progress: Progress) -> dict[str, object]:
        """Returns the output of a job for its input. Raises ValueError for an invalid input, and what the painter or
        the object store raises."""
        job = _read(given)
        updates = Updates(progress)
        body = await asyncio.get_running_loop().run_in_executor(self._threads, self._paint, job, updates.report)
        facts = await asyncio.to_thread(_inspected, body)
        measured = {
            "mime_type": facts.mime_type,
            "width": facts.width,
            "height": facts.height,
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        if job.object_key is None:
            return InlineImage.model_validate({**measured, "image_base64": _inline(body)}).model_dump(mode="json")
        await self._store.put(job.object_key, body, facts.mime_type)
        return StoredImage.model_validate({**measured, "object_key": job.object_key}).model_dump(mode="json")


class Updates:
    """Reports progress in steps of PROGRESS_EVERY. Never the whole: RunPod could take a late update for the state of a
    job that has ended."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._reported = 0.0

    def report(self, share: float) -> None:
        if self._reported + PROGRESS_EVERY <= share < 1:
            self._reported = share
            self._progress({"percent": round(share * 100, 1), "stage": "painting"})


def paint_sketch(job: RunpodWorkerInput, report: Report) -> bytes:
    """The reference painter, which needs no GPU."""
    for name, side in (("width", job.width), ("height", job.height)):
        if not SIDE_MIN <= side <= SIZE_MAX:
            raise ValueError(f"{name}: {side} pixels; from {SIDE_MIN} to {SIZE_MAX} can be painted")
    sketch = Sketch(job.prompt, job.seed, job.width, job.height)
    canvas = blank(sketch)
    for share in paint(sketch, canvas):
        report(share)
    return encode_png(canvas)


def _read(given: object) -> RunpodWorkerInput:
    try:
        return RunpodWorkerInput.model_validate(given)
    except ValidationError as error:
        message = "; ".join(f"{place or 'input'}: {fault}" for place, fault in placed(error))
        raise ValueError(message) from None


def _inspected(body: bytes) -> ImageFacts:
    facts = inspect_image(body, PIXELS_MAX)
    if isinstance(facts, str):
        raise ValueError(f"the painter returned no image: {facts}")  # noqa: TRY004 - of its bytes, not of their type
    return facts


def _inline(body: bytes) -> str:
    if len(body) > INLINE_MAX_BYTES:
        raise ValueError(
            f"the image has {len(body)} bytes, RunPod returns {INLINE_MAX_BYTES} at most: give an object_key"
        )
    return base64.b64encode(body).decode()
