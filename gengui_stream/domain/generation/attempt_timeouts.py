"""Timeouts of an attempt. Pure: the time is an argument."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from gengui_stream.domain.generation.state import Generation, Status


@dataclass(frozen=True, slots=True)
class AttemptTimeouts:
    """`heartbeat_timeout`: the longest silence before the provider is polled. `poll_interval`: the time between two
    polls. `max_duration`: the deadline, from the request on, of a generation that has none of its own."""

    heartbeat_timeout: timedelta
    max_duration: timedelta
    poll_interval: timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to reconcile: the generation has ended, or a later attempt has its own job."""


@dataclass(frozen=True, slots=True)
class RecheckAt:
    """The attempt is queued, or within its heartbeat timeout; check again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class PollProvider:
    """The attempt has been silent for too long, or a webhook reports news: ask the provider for its status. If it is
    still running, check again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class ForceCancel:
    """A cancellation was requested, and the attempt has been silent for longer than its heartbeat timeout: it is
    canceled unless the provider says that it runs; then check again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The deadline has passed. The provider is asked a last time: a finished result still counts."""

    reason: str


Check: TypeAlias = Done | RecheckAt | PollProvider | ForceCancel | TimeOut


def next_check(
    state: Generation, attempt: int, now: datetime, timeouts: AttemptTimeouts, *, expedited: bool = False
) -> Check:
    """The next step for this attempt, by its state alone. `expedited`: a webhook reports news of it."""
    if state.terminal or state.attempt != attempt:
        return Done()
    queued, deadline = state.status is Status.QUEUED, deadline_of(state, timeouts)
    if now >= deadline:
        return TimeOut(f"the deadline passed before the generation {'was dispatched' if queued else 'ended'}")
    if queued:
        return RecheckAt(deadline)
    if expedited:
        return PollProvider(min(now + timeouts.poll_interval, deadline))
    quiet_at = state.last_heard_at + timeouts.heartbeat_timeout
    if now < quiet_at:
        return RecheckAt(min(quiet_at, deadline))
    if state.cancel_requested:
        return ForceCancel(min(now + timeouts.poll_interval, deadline))
    return PollProvider(min(now + timeouts.poll_interval, deadline))


def deadline_of(state: Generation, timeouts: AttemptTimeouts) -> datetime:
    """The generation's own deadline, or its request time plus `max_duration`."""
    return state.deadline if state.deadline is not None else state.requested_at + timeouts.max_duration
