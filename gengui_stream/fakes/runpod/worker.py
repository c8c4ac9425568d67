"""The worker of the fake endpoint: implements `schemas.runpod_worker`, unless the script says otherwise."""

import base64
import json
from typing import Final, assert_never

from pydantic import JsonValue, ValidationError

from gengui_stream.errors import GenGuiError, PermanentError
from gengui_stream.fakes.pictures import Picture, drawn
from gengui_stream.fakes.runpod.script import JobLife
from gengui_stream.media.object_store import Bucket
from gengui_stream.worker.painter.rendering import Sketch
from schemas.runpod_worker import InlineImage, RunpodWorkerInput, StoredImage

NOISE: Final = bytes(range(256)) * 8


class WorkerFailed(PermanentError):
    """The worker's error, as RunPod passes it on in the job's `error` field."""


def _raised(kind: str, message: str) -> WorkerFailed:
    return WorkerFailed(traceback_json(kind, message))


def traceback_json(kind: str, message: str) -> str:
    """The error of a handler that raised: a JSON document in a string."""
    return json.dumps(
        {
            "error_type": f"<class '{kind}'>",
            "error_message": message,
            "error_traceback": f'Traceback (most recent call last):\n  File "/handler.py"\n{kind}: {message}\n',
            "hostname": "fake-worker-64410c2a",
            "worker_id": "fake-worker",
            "runpod_version": "1.7.9",
        }
    )


async def work(given: object, life: JobLife, store: Bucket | None, side_max: int) -> JsonValue:
    """The job's output. Raises WorkerFailed, also when the object store is unavailable."""
    job = _read(given)
    picture = await drawn(Sketch(job.prompt, job.seed, job.width, job.height), side_max)
    match life.output:
        case "none":
            return None
        case "text":
            return "done"
        case "image":
            return await _delivered(job, picture, store)
        case "list":
            return [await _delivered(job, picture, store)]
        case "missing_object":
            return _described(job, picture)
        case "not_an_image":
            return await _delivered(job, Picture(NOISE, "image/png", picture.width, picture.height), store)
        case "wrong_type":
            return await _delivered(job, Picture(picture.body, "image/webp", picture.width, picture.height), store)
        case "wrong_key":
            elsewhere = job.model_copy(update={"object_key": f"{job.object_key}.elsewhere"} if job.object_key else {})
            return await _delivered(elsewhere, picture, store)
        case _:
            assert_never(life.output)


def _read(given: object) -> RunpodWorkerInput:
    try:
        return RunpodWorkerInput.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        message = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise _raised("ValueError", message) from None


async def _delivered(job: RunpodWorkerInput, picture: Picture, store: Bucket | None) -> JsonValue:
    """Stores the image, then returns the output."""
    if job.object_key is not None:
        if store is None:
            raise _raised("KeyError", "'BUCKET_ENDPOINT_URL'")
        try:
            await store.put(job.object_key, picture.body, picture.mime_type)
        except GenGuiError as error:
            raise _raised("botocore.exceptions.ClientError", str(error)) from error
    return _described(job, picture)


def _described(job: RunpodWorkerInput, picture: Picture) -> dict[str, JsonValue]:
    measured = {
        "mime_type": picture.mime_type,
        "width": picture.width,
        "height": picture.height,
        "bytes": len(picture.body),
        "sha256": picture.sha256,
    }
    if job.object_key is not None:
        return StoredImage.model_validate({**measured, "object_key": job.object_key}).model_dump(mode="json")
    encoded = base64.b64encode(picture.body).decode()
    return InlineImage.model_validate({**measured, "image_base64": encoded}).model_dump(mode="json")
