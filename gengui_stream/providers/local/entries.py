"""Parses a queue entry into a job, or into the reason why it is invalid. Pure and total."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gengui_stream.fault_sentences import placed
from gengui_stream.tracing.spans import valid_traceparent
from schemas.fields import Attempt, Name, Pixels, Prompt, Seed


def _if_valid(given: object) -> str | None:
    """A damaged trace context is none, and no reason to fail a job."""
    return valid_traceparent(given) if isinstance(given, str) else None


class QueuedJob(BaseModel):
    """A job of the queue. All fields are strings in the entry; an entry of the original service has no attempt and no
    model, and one of a generation without a trace no traceparent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner_id: UUID = Field(alias="userId")
    generation_id: UUID = Field(alias="mediaId")
    prompt: Prompt
    seed: Seed
    width: Pixels
    height: Pixels
    attempt: Attempt | None = None
    model: Name | None = None
    traceparent: Annotated[str | None, BeforeValidator(_if_valid)] = None


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """An entry that is not a job. `generation_id`: if the entry names one, so that its failure can be reported."""

    message: str
    generation_id: UUID | None
    attempt: int | None


Job = TypeVar("Job", bound=QueuedJob)


def parse(fields: Mapping[str, str], job: type[Job]) -> Job | InvalidMessage:
    """Never raises."""
    try:
        return job.model_validate(fields)
    except ValidationError as error:
        message = "; ".join(f"{place}: {fault}" for place, fault in placed(error))
        return InvalidMessage(message[:1000], _generation_id(fields), _attempt(fields))


def _generation_id(fields: Mapping[str, str]) -> UUID | None:
    try:
        return UUID(fields.get("mediaId", ""))
    except ValueError:
        return None


def _attempt(fields: Mapping[str, str]) -> int | None:
    text = fields.get("attempt", "")
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000 else None
