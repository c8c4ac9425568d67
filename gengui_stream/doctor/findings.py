"""Findings of checks. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warn", "fail"]

SLOW_S: Final = 0.25
SKEW_WARN_S: Final = 2.0
SKEW_FAIL_S: Final = 60.0
"""Object stores reject signatures from 15 minutes on; leases, deadlines and lags are wrong long before."""

CLOCK_REMEDY: Final = "synchronize the clocks of both machines (NTP)"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: `subject.aspect`, stable. `remedy`: what to do; None with `ok`. Neither text contains a secret."""

    name: str
    status: Status
    detail: str
    remedy: str | None = None


def ok(name: str, detail: str) -> Finding:
    return Finding(name, "ok", detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name, "warn", detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name, "fail", detail, remedy)


def worst(findings: Iterable[Finding]) -> Status:
    found = {finding.status for finding in findings}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def connected(name: str, server: str, round_trip_s: float) -> Finding:
    """An available server with its latency."""
    detail = f"{server}, {round_trip_s * 1000:.1f} ms"
    if round_trip_s > SLOW_S:
        return warn(name, detail, "slow: check the network between, and the load of the server")
    return ok(name, detail)


def clock(name: str, server: datetime, ours: datetime, *, resolution_s: float = 0.0) -> Finding:
    """`resolution_s`: the resolution of the server's time."""
    skew_s = (server - ours).total_seconds()
    detail = f"{skew_s:+.1f} s from this machine's"
    beyond_s = abs(skew_s) - resolution_s
    if beyond_s > SKEW_FAIL_S:
        return fail(name, detail, CLOCK_REMEDY)
    return warn(name, detail, CLOCK_REMEDY) if beyond_s > SKEW_WARN_S else ok(name, detail)
