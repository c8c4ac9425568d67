"""Why a job waits: what /health says of an endpoint's workers. /status alone cannot tell. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Diagnosis(StrEnum):
    """Why nobody has taken a job yet. CRASH_LOOP: every worker dies while it starts, and no waiting will help."""

    COLD_START = "cold start: a worker is being initialized"
    NO_CAPACITY = "no capacity: every worker is throttled"
    CRASH_LOOP = "crash loop: every worker is unhealthy"
    BUSY = "workers are there; it waits for its turn"
    UNKNOWN = "no worker is there, and nothing says why"


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers of each kind an endpoint has."""

    idle: int = 0
    initializing: int = 0
    ready: int = 0
    running: int = 0
    throttled: int = 0
    unhealthy: int = 0


_KINDS: Final = ("idle", "initializing", "ready", "running", "throttled", "unhealthy")


def workers_of(body: object) -> Workers:
    """What is not there or no number counts as nought."""
    given = body.get("workers") if isinstance(body, Mapping) else None
    counts = given if isinstance(given, Mapping) else {}
    return Workers(**{kind: _count(counts.get(kind)) for kind in _KINDS})


def diagnose(workers: Workers) -> Diagnosis:
    """One worker that can work, or that begins to, is reason enough to wait: a single crash is no loop."""
    if workers.idle + workers.ready + workers.running:
        return Diagnosis.BUSY
    if workers.initializing:
        return Diagnosis.COLD_START
    if workers.unhealthy:
        return Diagnosis.CRASH_LOOP
    return Diagnosis.NO_CAPACITY if workers.throttled else Diagnosis.UNKNOWN


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
