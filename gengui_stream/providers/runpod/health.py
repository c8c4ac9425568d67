"""Why a job is still queued, and how many are, by the endpoint's /health, as /status does not say it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Diagnosis(StrEnum):
    """Why no worker has taken a job yet. CRASH_LOOP: every worker dies while it starts, so waiting does not help."""

    COLD_START = "cold start: a worker is being initialized"
    NO_CAPACITY = "no capacity: every worker is throttled"
    CRASH_LOOP = "crash loop: every worker is unhealthy"
    BUSY = "workers are available; the job is queued"
    UNKNOWN = "no worker is available, for an unknown reason"


@dataclass(frozen=True, slots=True)
class Workers:
    """An endpoint's workers, counted by state."""

    idle: int = 0
    initializing: int = 0
    ready: int = 0
    running: int = 0
    throttled: int = 0
    unhealthy: int = 0


_STATES: Final = ("idle", "initializing", "ready", "running", "throttled", "unhealthy")


def workers_of(body: object) -> Workers:
    """Missing or invalid counts are zero."""
    given = body.get("workers") if isinstance(body, Mapping) else None
    counts = given if isinstance(given, Mapping) else {}
    return Workers(**{state: _count(counts.get(state)) for state in _STATES})


def diagnose(workers: Workers) -> Diagnosis:
    """One working or starting worker is enough to wait for: a single crash is no loop."""
    if workers.idle + workers.ready + workers.running:
        return Diagnosis.BUSY
    if workers.initializing:
        return Diagnosis.COLD_START
    if workers.unhealthy:
        return Diagnosis.CRASH_LOOP
    return Diagnosis.NO_CAPACITY if workers.throttled else Diagnosis.UNKNOWN


def queued_of(body: object) -> int | None:
    """The number of jobs in the queue; None when the body does not have it."""
    jobs = body.get("jobs") if isinstance(body, Mapping) else None
    queued = jobs.get("inQueue") if isinstance(jobs, Mapping) else None
    return queued if isinstance(queued, int) and not isinstance(queued, bool) and queued >= 0 else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
