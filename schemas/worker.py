"""Reports of workers over HTTP: `POST /v1/worker/events`, a batch with one outcome for each event."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from schemas.events import (
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationStarted,
)
from schemas.http import Request, Resource

WORKER_BATCH_MAX = 500

WorkerEvent: TypeAlias = Annotated[
    GenerationStarted
    | GenerationProgressed
    | GenerationHeartbeatReceived
    | GenerationCompleted
    | GenerationFailed
    | GenerationModerated
    | GenerationCanceled,
    Field(discriminator="type"),
]
"""The events that a worker may report."""


class WorkerEvents(Request):
    """A batch of events. An event that is refused does not keep the others from being recorded; a batch of which every
    event is refused is answered with 404 or 422."""

    events: list[WorkerEvent] = Field(min_length=1, max_length=WORKER_BATCH_MAX)


class WorkerEventOutcome(Resource):
    """The outcome of one event, by its index in the batch."""

    index: int
    id: UUID | None
    outcome: Literal["accepted", "refused"]
    position: str | None = None
    code: str | None = None
    detail: str | None = None


class WorkerEventOutcomes(Resource):
    """One outcome for each event, in the order sent."""

    data: list[WorkerEventOutcome]
