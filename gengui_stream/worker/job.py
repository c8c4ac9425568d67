"""Parses a queue entry into a job, or into the reason why it is invalid. Pure and total."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gengui_stream.worker.painter.rendering import Sketch
from schemas.fields import SIZE_MAX, Attempt, Prompt, Seed

SIDE_MIN: Final = 16

Side = Annotated[int, Field(ge=SIDE_MIN, le=SIZE_MAX)]
"""Pixels: a wider range than clients may request, bounded by what fits into memory."""


class DrawingJob(BaseModel):
    """A job of the queue. All fields are strings in the entry; an entry of the original service has no attempt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner_id: UUID = Field(alias="userId")
    generation_id: UUID = Field(alias="mediaId")
    prompt: Prompt
    seed: Seed
    width: Side
    height: Side
    attempt: Attempt | None = None

    @property
    def sketch(self) -> Sketch:
        return Sketch(self.prompt, self.seed, self.width, self.height)


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """An entry that is not a job. `generation_id`: if the entry names one, so that its failure can be reported."""

    message: str
    generation_id: UUID | None
    attempt: int | None


def parse(fields: Mapping[str, str]) -> DrawingJob | InvalidMessage:
    """Never raises."""
    try:
        return DrawingJob.model_validate(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        message = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        return InvalidMessage(message[:1000], _generation_id(fields), _attempt(fields))


def _generation_id(fields: Mapping[str, str]) -> UUID | None:
    try:
        return UUID(fields.get("mediaId", ""))
    except ValueError:
        return None


def _attempt(fields: Mapping[str, str]) -> int | None:
    text = fields.get("attempt", "")
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000 else None
