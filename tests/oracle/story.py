"""One generation as the log tells it, and the words of its events."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

from tests.oracle.evidence import LogRecord, Row

ENDED: Final = ("completed", "failed", "canceled", "timed_out", "moderated")
EARLY_MAX: Final = 32
REPORTS_OF_WORKERS: Final = ("started", "progressed", "heartbeat_received", "failed", "retried")
OF_ONE_ATTEMPT: Final = (*REPORTS_OF_WORKERS, "dispatched", "accepted", "timed_out")
WHILE_OPEN: Final = (*OF_ONE_ATTEMPT, "completed", "canceled", "moderated", "cancel_requested")


def moment(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


@dataclass(slots=True)
class Story:
    """What is true of one generation after the records so far."""

    generation_id: str
    request: Row | None = None
    status: str = ""
    version: int = 0
    attempt: int = 0
    provider: str = ""
    job: str | None = None
    percent: float | None = None
    cancel_asked: bool = False
    asked_at: datetime | None = None
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    heard_at: datetime | None = None
    ended_at: datetime | None = None
    deleted: bool = False
    error: str | None = None
    outputs: dict[str, dict[str, object]] = field(default_factory=dict)
    early: list[str] = field(default_factory=list)
    unnumbered: datetime | None = None
    fence: datetime | None = None
    told: list["Line"] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a story: whether it was applied, and the version and status after it."""

    record: LogRecord
    event: Row
    applied: bool
    version: int
    status: str


def read(record: LogRecord) -> Row | None:
    """The event of a record; None if it holds none."""
    try:
        event = json.loads(record.value or b"")
    except ValueError:
        return None
    named = isinstance(event, dict) and record.key == str(event.get("generation_id", "")).encode()
    return cast("Row", event) if named else None
