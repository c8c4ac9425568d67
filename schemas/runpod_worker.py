"""What a worker image on RunPod is given and what it gives back: the `input` and the `output` of a job.

A worker obeys five rules:

1. With an `object_key` it puts the image into the object store under exactly that key *before* it returns. RunPod
   drops results; an object that is there can be found again, by the key alone.
2. Done twice, it stores under the same key: the same prompt, seed and size may give other bytes, never another place.
3. Without an `object_key` it returns the image itself, as `image_base64`. RunPod takes 20 MB at most.
4. `width`, `height`, `bytes` and `sha256` are those of the stored bytes, measured, not repeated from the input.
5. Whatever keeps it from an image it raises as an exception: a job that completes has an image. Progress, if any, is
   `{"percent": 0..100, "stage": "..."}`.

The worker needs no credentials of ours but those of the object store, which are its endpoint's own environment.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import Attempt, ByteCount, Name, ObjectKey, Pixels, Prompt, Seed, Sha256

ImageType = Literal["image/png", "image/jpeg", "image/webp"]


class _Document(BaseModel):
    """A field that one side does not know yet is passed over: workers and core are rolled out apart."""

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
    """`output` of a job that was given an `object_key`."""

    object_key: ObjectKey


class InlineImage(_Image):
    """`output` of a job that was not."""

    image_base64: Annotated[str, Field(min_length=1)]
