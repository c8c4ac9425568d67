"""One job of a RunPod worker, as `schemas.runpod_worker` has it: paint, store, say what was stored.

RunPod's SDK is not imported here: `deploy/runpod/handler.py` connects the two. An exception is how a job fails.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from pydantic import ValidationError

from gengui_stream.media.inspection import ImageFacts, inspect_image
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.settings import Settings, load_settings
from gengui_stream.worker.job import SIDE_MIN
from gengui_stream.worker.painter.rendering import Sketch, blank, encode_png, paint
from schemas.fields import SIZE_MAX
from schemas.runpod_worker import InlineImage, RunpodWorkerInput, StoredImage

PROGRESS_EVERY: Final = 0.25
"""Of the whole: each update is a request of the SDK to RunPod."""

PIXELS_MAX: Final = 64_000_000

INLINE_MAX_BYTES: Final = 14_000_000
"""An answer may have 20 MB, and base64 makes four bytes of three."""

Report: TypeAlias = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""

Painter: TypeAlias = Callable[[RunpodWorkerInput, Report], bytes]
"""Makes the encoded image, PNG, JPEG or WebP, in a thread of its own. What it raises fails the job."""

Progress: TypeAlias = Callable[[Mapping[str, object]], None]


def store_settings(environ: Mapping[str, str]) -> Settings:
    """Of the object store alone: RunPod sets variables of its own in a container (RUNPOD_ENDPOINT_ID, say), which mean
    something else to the rest of the system. Raises ConfigurationError."""
    given = {name: value for name, value in environ.items() if name.startswith(("S3_", "AWS_"))}
    return load_settings(given, env_files=())


class RunpodWorker:
    """Does jobs one by one, or several at once: each in a thread. `paint` is the place of a model of your own."""

    def __init__(self, store: ObjectStore, paint: Painter | None = None) -> None:
        self._store = store
        self._paint = paint or paint_sketch
        self._threads = ThreadPoolExecutor(thread_name_prefix="paint")

    async def handle(self, given: object, progress: Progress) -> dict[str, object]:
        """The output of a job from its input. Raises ValueError for an input that cannot be painted, and whatever the
        painter or the object store raises."""
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
    """Passes a share on when it has grown by PROGRESS_EVERY. Not the whole: RunPod may take an update for the state of
    a job that has ended meanwhile."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said = 0.0

    def report(self, share: float) -> None:
        if self._said + PROGRESS_EVERY <= share < 1:
            self._said = share
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
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        said = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'input'}: {fault['msg']}" for fault in faults)
        raise ValueError(said) from None


def _inspected(body: bytes) -> ImageFacts:
    facts = inspect_image(body, PIXELS_MAX)
    if isinstance(facts, str):
        raise ValueError(f"the painter made no image: {facts}")  # noqa: TRY004 - of its bytes, not of their type
    return facts


def _inline(body: bytes) -> str:
    if len(body) > INLINE_MAX_BYTES:
        raise ValueError(
            f"the image has {len(body)} bytes, RunPod returns {INLINE_MAX_BYTES} at most: give an object_key"
        )
    return base64.b64encode(body).decode()
