"""When to stop waiting for an attempt: pure, with the time given."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from gengui_stream.domain.generation.state import Generation, Status


@dataclass(frozen=True, slots=True)
class AttemptTimeouts:
    """How long an attempt may be silent, how often it is looked at then, and how long a generation without a deadline
    of its own may take."""

    heartbeat_timeout: timedelta
    max_duration: timedelta
    poll_interval: timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to wait for: the generation ended, or a later attempt has its own watch."""


@dataclass(frozen=True, slots=True)
class RecheckAt:
    """All is well; look again at that time."""

    until: datetime


@dataclass(frozen=True, slots=True)
class PollProvider:
    """Silent for long, or hinted at: ask the provider what has become of it. If it runs all the same, look again
    then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class ForceCancel:
    """The owner does not want it any more, and whoever runs it does not answer."""


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Out of time. The provider may be asked once more: a result that is there is still good."""

    reason: str


Check: TypeAlias = Done | RecheckAt | PollProvider | ForceCancel | TimeOut


def next_check(
    state: Generation, attempt: int, now: datetime, timeouts: AttemptTimeouts, *, expedited: bool = False
) -> Check:
    """What to do about this attempt, as far as the state knows. `hinted`: somebody says that there is news of it."""
    if state.terminal or state.attempt != attempt:
        return Done()
    deadline = deadline_of(state, timeouts)
    if now >= deadline:
        return TimeOut("the deadline passed before the generation ended")
    if expedited and state.status is not Status.QUEUED:
        return PollProvider(min(now + timeouts.poll_interval, deadline))
    quiet_at = state.last_heard_at + timeouts.heartbeat_timeout
    if now < quiet_at:
        return RecheckAt(min(quiet_at, deadline))
    if state.cancel_requested:
        return ForceCancel()
    return PollProvider(min(now + timeouts.poll_interval, deadline))


def deadline_of(state: Generation, timeouts: AttemptTimeouts) -> datetime:
    """Every generation has one."""
    return state.deadline if state.deadline is not None else state.requested_at + timeouts.max_duration
