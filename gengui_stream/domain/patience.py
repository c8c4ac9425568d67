"""When to stop waiting for an attempt: pure, with the time given."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from gengui_stream.domain.generation import Generation, Status


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may be silent, and how long a generation without a deadline of its own may take."""

    silence: timedelta
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing is left to wait for: the generation ended, or a later attempt has its own watch."""


@dataclass(frozen=True, slots=True)
class Wait:
    """All is well; look again at that time."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Remind:
    """Handed over, but nobody has taken it for long: see whether the provider still has it, and look again then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """The owner does not want it any more, and whoever runs it does not answer."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Whoever ran it is lost, not heard of since then; there are attempts left."""

    reason: str
    last_heard_at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Out of time, or out of attempts (and then not heard of since then)."""

    reason: str
    last_heard_at: datetime | None = None


Verdict: TypeAlias = Over | Wait | Remind | StopWaiting | TryAgain | GiveUp


def judge_attempt(state: Generation, attempt: int, now: datetime, patience: Patience) -> Verdict:
    """What to do about this attempt, as far as the state knows."""
    if state.terminal or state.attempt != attempt:
        return Over()
    deadline = deadline_of(state, patience)
    if now >= deadline:
        return GiveUp("the deadline passed before the generation ended")
    quiet_at = state.last_heard_at + patience.silence
    if now < quiet_at:
        return Wait(min(quiet_at, deadline))
    return _silent(state, now, patience)


def deadline_of(state: Generation, patience: Patience) -> datetime:
    """Every generation has one."""
    return state.deadline if state.deadline is not None else state.requested_at + patience.lifetime


def _silent(state: Generation, now: datetime, patience: Patience) -> Verdict:
    if state.cancel_requested:
        return StopWaiting()
    if state.status is not Status.PROCESSING:
        return Remind(min(now + patience.silence, deadline_of(state, patience)))
    lost = f"nothing was heard of attempt {state.attempt} for {patience.silence.total_seconds():g} s"
    verdict = TryAgain if state.attempt < state.max_attempts else GiveUp
    return verdict(lost, state.last_heard_at)
