"""When to stop waiting for an attempt: pure, with the time given."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from gengui_stream.domain.generation.state import Generation, Status


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may be silent, how often it is looked at then, and how long a generation without a deadline
    of its own may take."""

    silence: timedelta
    lifetime: timedelta
    look_every: timedelta


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing is left to wait for: the generation ended, or a later attempt has its own watch."""


@dataclass(frozen=True, slots=True)
class Wait:
    """All is well; look again at that time."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """Silent for long, or hinted at: ask the provider what has become of it. If it runs all the same, look again
    then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """The owner does not want it any more, and whoever runs it does not answer."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Out of time. The provider may be asked once more: a result that is there is still good."""

    reason: str


Verdict: TypeAlias = Over | Wait | Look | StopWaiting | GiveUp


def judge_attempt(
    state: Generation, attempt: int, now: datetime, patience: Patience, *, hinted: bool = False
) -> Verdict:
    """What to do about this attempt, as far as the state knows. `hinted`: somebody says that there is news of it."""
    if state.terminal or state.attempt != attempt:
        return Over()
    deadline = deadline_of(state, patience)
    if now >= deadline:
        return GiveUp("the deadline passed before the generation ended")
    if hinted and state.status is not Status.QUEUED:
        return Look(min(now + patience.look_every, deadline))
    quiet_at = state.last_heard_at + patience.silence
    if now < quiet_at:
        return Wait(min(quiet_at, deadline))
    if state.cancel_requested:
        return StopWaiting()
    return Look(min(now + patience.look_every, deadline))


def deadline_of(state: Generation, patience: Patience) -> datetime:
    """Every generation has one."""
    return state.deadline if state.deadline is not None else state.requested_at + patience.lifetime
