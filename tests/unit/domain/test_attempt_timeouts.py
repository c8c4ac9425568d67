"""The time-outs of an attempt, and the action of a dispatch job."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.attempt_timeouts import (
    AttemptTimeouts,
    Check,
    Done,
    ForceCancel,
    PollProvider,
    RecheckAt,
    TimeOut,
    next_check,
)
from gengui_stream.domain.generation.decide import DispatchStep
from gengui_stream.domain.generation.state import TERMINAL, Generation, ProviderPreference, Status
from tests.events import GENERATION, NOON, OWNER

TIMEOUTS = AttemptTimeouts(
    heartbeat_timeout=timedelta(seconds=120), max_duration=timedelta(seconds=600), poll_interval=timedelta(seconds=120)
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def standing(**changes: Any) -> Generation:
    """A generation that was dispatched a second after its request, with these changes."""
    known: dict[str, Any] = {
        "generation_id": GENERATION,
        "owner_id": OWNER,
        "model": "m",
        "provider": "local",
        "max_attempts": 3,
        "deadline": at(500),
        "requested_at": at(0),
        "preference": ProviderPreference("local", "m", pinned=True),
        "status": Status.DISPATCHED,
        "dispatched_at": at(1),
    }
    return Generation(**known | changes)


def running(**changes: Any) -> Generation:
    """The same, once it is processing."""
    known = {"status": Status.PROCESSING, "started_at": at(10), "heartbeat_at": at(60)}
    return standing(**known | changes)


DISPATCHED = standing()
RUNNING = running()


@pytest.mark.parametrize(
    ("state", "now", "check"),
    [
        (DISPATCHED, 5, PollProvider(at(125))),
        (DISPATCHED, 450, PollProvider(at(500))),
        (running(cancel_requested=True), 61, PollProvider(at(181))),
        (standing(status=Status.QUEUED, dispatched_at=None), 5, RecheckAt(at(500))),
        (DISPATCHED, 500, TimeOut("the deadline passed before the generation ended")),
        (running(attempt=2), 61, Done()),
        (running(status=Status.COMPLETED), 61, Done()),
    ],
)
def test_an_expedited_attempt_is_polled_however_recent_its_last_sign_of_life(
    state: Generation, now: float, check: Check
) -> None:
    assert next_check(state, 1, at(now), TIMEOUTS, expedited=True) == check


@pytest.mark.parametrize(
    ("state", "now", "check"),
    [
        (DISPATCHED, 5, RecheckAt(at(121))),
        (DISPATCHED, 121, PollProvider(at(241))),
        (DISPATCHED, 450, PollProvider(at(500))),
        (DISPATCHED, 500, TimeOut("the deadline passed before the generation ended")),
        (standing(deadline=None), 500, PollProvider(at(600))),
        (standing(deadline=None), 600, TimeOut("the deadline passed before the generation ended")),
        (standing(status=Status.QUEUED, dispatched_at=None), 5, RecheckAt(at(500))),
        (RUNNING, 100, RecheckAt(at(180))),
        (running(heartbeat_at=at(400)), 450, RecheckAt(at(500))),
        (RUNNING, 180, PollProvider(at(300))),
        (running(cancel_requested=True), 180, ForceCancel(at(300))),
        (running(attempt=2), 10_000, Done()),
        *((running(status=status), 10_000, Done()) for status in sorted(TERMINAL)),
    ],
)
def test_checks(state: Generation, now: float, check: Check) -> None:
    assert next_check(state, 1, at(now), TIMEOUTS) == check


@pytest.mark.parametrize(
    ("state", "now", "repeatable", "step"),
    [
        (standing(status=Status.QUEUED), 5, True, DispatchStep.ANNOUNCE_AND_CALL),
        (DISPATCHED, 5, True, DispatchStep.CALL),
        (DISPATCHED, 5, False, DispatchStep.SKIP),
        (RUNNING, 5, True, DispatchStep.SKIP),
        (standing(status=Status.QUEUED), 500, True, DispatchStep.SKIP),
        (standing(cancel_requested=True), 5, True, DispatchStep.SKIP),
        (standing(attempt=2), 5, True, DispatchStep.SKIP),
        (standing(status=Status.CANCELED), 5, True, DispatchStep.SKIP),
    ],
)
def test_steps(state: Generation, now: float, repeatable: bool, step: DispatchStep) -> None:
    assert decide.dispatch(state, 1, at(now), TIMEOUTS, repeatable=repeatable) is step
