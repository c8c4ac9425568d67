"""The contract with worker images on RunPod: the `input` and the `output` of a job.

The rules for workers:

1. With an `object_key` the worker stores the image under exactly that key *before* it returns. RunPod discards results;
   a stored object can be found by its key alone.
2. A repeated job stores under the same key: its bytes may differ, its key never does.
3. Without an `object_key` the worker returns the image as `image_base64`. RunPod accepts at most 20 MB.
4. `width`, `height`, `bytes` and `sha256` are measured from the stored bytes, not copied from the input.
5. A worker without an image raises an exception: every completed job has an image. Progress, if any, is
   `{"percent": 0..100, "stage": "..."}`.

The worker needs no credentials of this system except those of the object store, from its endpoint's environment.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import Attempt, ByteCount, Name, ObjectKey, Pixels, Prompt, Seed, Sha256

ImageType = Literal["image/png", "image/jpeg", "image/webp"]


class _Document(BaseModel):
    """Unknown fields are ignored: workers and core are deployed separately."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunpodWorkerInput(_Document):
    """`input` of `POST /v2/{endpoint}/run`. `generation_id` and `attempt` are for the worker's log and reports."""

    prompt: Prompt
    seed: Seed
    width: Pixels
    height: Pixels
    model: Name
    generation_id: UUID
    attempt: Attempt
    object_key: ObjectKey | None = None


class _Image(_Document):
    mime_type: ImageType
    width: Pixels
    height: Pixels
    bytes: ByteCount
    sha256: Sha256


class StoredImage(_Image):
    """`output` of a job with an `object_key`."""

    object_key: ObjectKey


class InlineImage(_Image):
    """`output` of a job without an `object_key`."""

    image_base64: Annotated[str, Field(min_length=1)]
