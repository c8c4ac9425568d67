"""The fold's statuses against an independent oracle: a table written by hand from the language's description."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from hypothesis import given, settings

from gengui_stream.projecting.folding import FoldState, fold_records
from schemas.events import Event, GenerationFailed, GenerationRequested
from tests.events import GENERATION, histories, record_of


@dataclass(slots=True)
class Oracle:
    """Statuses by hand, written from the description of the language and not from the code."""

    status: str | None = None
    attempt: int = 1
    most: int = 1
    canceling: bool = False
    deadline: datetime | None = None
    seen: set[UUID] = field(default_factory=set)
    unnumbered: list[datetime] = field(default_factory=list)
    fence: datetime | None = None

    ENDS: ClassVar = {
        "generation.completed": "completed",
        "generation.canceled": "canceled",
        "generation.timed_out": "timed_out",
        "generation.moderated": "moderated",
    }
    RUNS: ClassVar = ("generation.started", "generation.progressed", "generation.heartbeat_received")

    LIVE: ClassVar = {"queued", "dispatched", "processing"}
    FENCED: ClassVar = (
        *("generation.dispatched", "generation.accepted", "generation.failed"),
        *("generation.retried", "generation.timed_out", *RUNS),
    )

    def see(self, event: Event) -> None:
        """An event with an id that was seen before changes nothing."""
        if event.id not in self.seen:
            self.seen.add(event.id)
            was_live = self.status in self.LIVE
            self._see(event)
            if was_live and event.attempt is None and event.type in self.FENCED:
                self.unnumbered.append(event.occurred_at)
            if self.status == "queued" and self.attempt > 1:
                self.fence = max(self.unnumbered, default=None)

    def _see(self, event: Event) -> None:
        if isinstance(event, GenerationRequested):
            if self.status is None:
                self.status, self.most, self.deadline = "queued", event.max_attempts, event.deadline
        elif self.status in self.LIVE and event.type == "generation.deleted":
            self._cancel()  # of whatever attempt
        elif self.status in self.LIVE and self._is_of_this_attempt(event):
            self._take(event)

    def _is_of_this_attempt(self, event: Event) -> bool:
        if event.attempt is None and event.type in self.FENCED and self.fence and event.occurred_at <= self.fence:
            return False
        not_dispatched_yet = self.status == "queued" and self.attempt > 1
        of_the_last = event.type in {"generation.failed", "generation.retried", *self.RUNS}
        return event.attempt == self.attempt or (event.attempt is None and not (not_dispatched_yet and of_the_last))

    def _take(self, event: Event) -> None:
        name = event.type
        if name in self.ENDS:
            self.status = self.ENDS[name]
        elif isinstance(event, GenerationFailed):
            self._fail(event)
        elif name == "generation.cancel_requested":
            self._cancel()
        elif name == "generation.retried" and self.canceling:
            self.status = "canceled"
        elif name == "generation.retried" and self.attempt < self.most:
            self._again()
        elif name in {"generation.dispatched", "generation.accepted"} and self.status == "queued":
            self.status = "dispatched"
        elif name in self.RUNS:
            self.status = "processing"

    def _cancel(self) -> None:
        self.status, self.canceling = ("canceled" if self.status == "queued" else self.status), True

    def _fail(self, event: GenerationFailed) -> None:
        in_time = self.deadline is None or event.occurred_at < self.deadline
        if self.canceling:
            self.status = "canceled"
        elif event.error.retryable and self.attempt < self.most and in_time:
            self._again()
        else:
            self.status = "failed"

    def _again(self) -> None:
        self.status = "queued"
        self.attempt += 1


@settings(max_examples=250, deadline=None)
@given(histories())
def test_statuses_agree_with_the_table_by_hand(history: list[Event]) -> None:
    oracle, known = Oracle(), FoldState()
    for offset, event in enumerate(history):
        oracle.see(event)
        fold_records([(record_of(event, offset), event)], known)
        state = known.states.get(GENERATION)
        assert (state.status.value if state else None) == oracle.status
        if state is not None and not state.terminal:
            assert (state.attempt, state.cancel_requested) == (oracle.attempt, oracle.canceling)
