"""What workers report over HTTP: `POST /v1/worker/events`, a batch whose events are answered one by one."""

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
"""The events that a worker may report; everything else is not a worker's to say."""


class WorkerEvents(Request):
    """What a worker sends. A fault in one event refuses that event, and not the others."""

    events: list[WorkerEvent] = Field(min_length=1, max_length=WORKER_BATCH_MAX)


class WorkerEventOutcome(Resource):
    """What became of one event of the batch, by its place in it."""

    index: int
    id: UUID | None
    outcome: Literal["accepted", "refused"]
    position: str | None = None
    code: str | None = None
    detail: str | None = None


class WorkerEventOutcomes(Resource):
    """One outcome an event, in the order sent."""

    data: list[WorkerEventOutcome]
