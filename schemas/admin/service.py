"""The queue, the costs and the audit trail."""

from uuid import UUID

from pydantic import Field, JsonValue

from schemas.fields import Moment
from schemas.http import Resource


class QueueResource(Resource):
    """Jobs of one kind for one provider. `provider`: empty where the kind has none."""

    kind: str
    provider: str
    open: int
    due: int = Field(description="waiting for a process")
    leased: int = Field(description="in progress")
    oldest_created_at: Moment
    oldest_age_s: float


class QueueReport(Resource):
    """Kinds and providers without an open job are left out."""

    open: int
    oldest_age_s: float | None
    data: list[QueueResource]


class CostResource(Resource):
    """What was used of one model at one provider."""

    provider: str
    model: str
    runs: int = Field(description="attempts that had started, however they ended")
    images: int
    run_seconds: float = Field(description="for how long these attempts ran: GPU seconds where the provider rents GPUs")
    cost: float | None = Field(description="by PRICES, in its currency; null without a price")
    unpriced_runs: int = Field(description="runs of days without a price, which the cost leaves out")


class CostReport(Resource):
    """`cost`: the sum of those that are known."""

    cost: float
    data: list[CostResource]


class AuditEventResource(Resource):
    """`type`: in the past tense. `actor_id`: the user that acted, null for one that is unknown and for the command
    line, whose operator is in `detail`. `subject_id`: the user that it was done to."""

    id: int
    occurred_at: Moment
    type: str
    actor_id: UUID | None
    subject_id: UUID | None
    address: str
    request_id: str
    detail: dict[str, JsonValue]


class AuditPage(Resource):
    """The latest first. `next_cursor` null: there are no more."""

    data: list[AuditEventResource]
    next_cursor: str | None
