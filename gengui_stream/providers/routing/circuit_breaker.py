"""Circuit breakers, one for each provider and model. Times are arguments: seconds of any monotonic clock.

Closed: calls are permitted. The circuit opens at once when the provider is misconfigured, since every call would fail,
and when too many of the latest calls failed. Open: calls are rejected for a while. Half open: one probe at a time is
permitted, and its outcome closes the circuit or opens it for longer. A probe without an outcome expires. In each state
calls are rejected for as long as the provider has asked for a pause.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CIRCUITS_MAX: Final = 1_000
"""Clients name the models: beyond this many circuits the idle ones are removed, then the oldest."""

REASON_MAX: Final = 200
DOUBLINGS_MAX: Final = 16
MISCONFIGURED: Final = "misconfigured"
"""Prefix of the reason of a circuit that only an operator can close."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """What a call shows about its provider. NEUTRAL: nothing, as with a bad request or a call that was not made."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISCONFIGURED = "misconfigured"
    NEUTRAL = "neutral"


def outcome_of_status(status: int) -> Outcome:
    """401, 402, 403, 404: the key, billing, permission or model is wrong, whatever the request."""
    if status in {401, 402, 403, 404}:
        return Outcome.MISCONFIGURED
    if status >= 500 or status in {408, 429}:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if 200 <= status < 300 else Outcome.NEUTRAL


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """`open_s` doubles with each failed probe, up to `open_max_s`. The failure rate is that of the latest `calls_max`
    calls within `window_s`. `probe_s`: when a probe without an outcome expires. `hold_max_s`: the longest pause that a
    provider may ask for."""

    window_s: float = 60.0
    calls_min: int = 10
    calls_max: int = 1_000
    failure_rate: float = 0.5
    open_s: float = 15.0
    misconfigured_s: float = 60.0
    open_max_s: float = 600.0
    probe_s: float = 60.0
    hold_max_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Permit:
    """For one call; to be returned with its outcome. `epoch`: outcomes of calls that began before the circuit last
    changed state are discarded."""

    provider: str
    model: str
    epoch: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """No permit before `retry_at`. `misconfigured`: nor after it, until an operator acts."""

    reason: str
    retry_at: float
    misconfigured: bool = False


@dataclass(frozen=True, slots=True)
class CircuitReport:
    """For operators and metrics. `reason`: None when closed."""

    provider: str
    model: str
    state: CircuitState
    reason: str | None


class Circuits:
    """Every circuit of this process."""

    def __init__(self, policy: CircuitPolicy | None = None) -> None:
        self._policy = policy or CircuitPolicy()
        self._circuits: dict[tuple[str, str], _Circuit] = {}

    def acquire(self, provider: str, model: str, now: float) -> Permit | Rejected:
        """A permit for one call. Every permit must be returned by `record`, or by `release` if the call is not made."""
        circuit = self._circuits.get((provider, model))
        if circuit is None:
            return Permit(provider, model, epoch=0, probe=False)
        rejected = circuit.rejected(now)
        if rejected is not None:
            return rejected
        probe = circuit.begin_call(now)
        return Permit(provider, model, circuit.epoch, probe)

    def permitted(self, provider: str, model: str, now: float) -> int | None:
        """The number of calls that would be permitted now; None: any number. Reserves nothing."""
        circuit = self._circuits.get((provider, model))
        if circuit is None:
            return None
        if circuit.rejected(now) is not None:
            return 0
        return None if circuit.state(now) is CircuitState.CLOSED else 1

    def is_misconfigured(self, provider: str, model: str, now: float) -> bool:
        """Whether every call would be rejected until an operator acts."""
        circuit = self._circuits.get((provider, model))
        rejected = circuit.rejected(now) if circuit is not None else None
        return rejected is not None and rejected.misconfigured

    def hold(self, provider: str, model: str, seconds: float, now: float, *, reason: str = "") -> None:
        """No calls for as long as the provider asks, at most `hold_max_s`."""
        self._circuit(provider, model, now).hold(seconds, now, reason[:REASON_MAX])

    def release(self, permit: Permit, now: float) -> None:
        """Returns the permit of a call that was not made."""
        self.record(permit, Outcome.NEUTRAL, now)

    def record(self, permit: Permit, outcome: Outcome, now: float, *, reason: str = "") -> None:
        """Returns the permit with the outcome of its call. `reason` is shown to operators, and must hold no secret."""
        self._circuit(permit.provider, permit.model, now).record(permit, outcome, now, reason[:REASON_MAX])

    def record_late(self, provider: str, model: str, outcome: Outcome, now: float, *, reason: str = "") -> None:
        """The outcome of a call that was recorded as a success when the provider accepted it, perhaps by another
        process: a failure replaces one recorded success."""
        if outcome is not Outcome.NEUTRAL:
            self._circuit(provider, model, now).record_late(outcome, now, reason[:REASON_MAX])

    def reports(self, now: float) -> Iterator[CircuitReport]:
        """May be called from any thread."""
        for (provider, model), circuit in list(self._circuits.items()):
            yield CircuitReport(provider, model, circuit.state(now), circuit.reason)

    def _circuit(self, provider: str, model: str, now: float) -> "_Circuit":
        if (provider, model) not in self._circuits:
            self._remove_idle(now)
            self._circuits[provider, model] = _Circuit(self._policy)
        return self._circuits[provider, model]

    def _remove_idle(self, now: float) -> None:
        if len(self._circuits) < CIRCUITS_MAX:
            return
        self._circuits = {key: circuit for key, circuit in self._circuits.items() if not circuit.is_idle(now)}
        while len(self._circuits) >= CIRCUITS_MAX:
            del self._circuits[next(iter(self._circuits))]


@dataclass(slots=True)
class _Circuit:
    policy: CircuitPolicy
    epoch: int = 0
    reason: str | None = None
    _calls: deque[tuple[float, bool]] = field(default_factory=deque)
    _failures: int = 0
    _open_until: float | None = None
    _probe_until: float | None = None
    _openings: int = 0
    _held_until: float = 0.0
    _held_because: str = ""

    def hold(self, seconds: float, now: float, reason: str) -> None:
        """Beside the other states, which go on counting: the pause is not a failure."""
        self._held_until = max(self._held_until, now + min(seconds, self.policy.hold_max_s))
        self._held_because = reason

    def state(self, now: float) -> CircuitState:
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self._open_until else CircuitState.HALF_OPEN

    def rejected(self, now: float) -> Rejected | None:
        if now < self._held_until:
            return Rejected(f"the provider asked for a pause: {self._held_because}", self._held_until)
        if self._open_until is None:
            return None
        if now < self._open_until:
            return Rejected(f"circuit open: {self.reason}", self._open_until, self._is_misconfigured())
        if self._probe_until is not None and now < self._probe_until:
            reason = f"circuit half open, a probe is in progress: {self.reason}"
            return Rejected(reason, self._probe_until, self._is_misconfigured())
        return None

    def _is_misconfigured(self) -> bool:
        return self.reason is not None and self.reason.startswith(MISCONFIGURED)

    def begin_call(self, now: float) -> bool:
        """Whether this call is the probe. A new epoch discards the outcome of an earlier probe that expired."""
        if self._open_until is None:
            return False
        self.epoch += self._probe_until is not None
        self._probe_until = now + self.policy.probe_s
        return True

    def record(self, permit: Permit, outcome: Outcome, now: float, reason: str) -> None:
        if permit.epoch != self.epoch or permit.probe != (self._open_until is not None):
            return
        if permit.probe:
            self._end_probe(outcome, now, reason)
        elif outcome is Outcome.MISCONFIGURED:
            self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {reason}")
        elif outcome is not Outcome.NEUTRAL:
            self._count(outcome, now, reason)

    def record_late(self, outcome: Outcome, now: float, reason: str) -> None:
        """Ignored while the circuit is open: the call began before it opened."""
        match self.state(now):
            case CircuitState.OPEN:
                return
            case CircuitState.HALF_OPEN:
                self._end_probe(outcome, now, reason)
            case CircuitState.CLOSED if outcome is Outcome.MISCONFIGURED:
                self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {reason}")
            case CircuitState.CLOSED if outcome is Outcome.FAILED:
                self._uncount_success()
                self._count(outcome, now, reason)
            case _:
                return

    def _uncount_success(self) -> None:
        """Removes the oldest recorded success."""
        success = next((call for call in self._calls if not call[1]), None)
        if success is not None:
            self._calls.remove(success)

    def _end_probe(self, outcome: Outcome, now: float, reason: str) -> None:
        match outcome:
            case Outcome.SUCCEEDED:
                self._close()
            case Outcome.FAILED:
                self._open(now, self.policy.open_s, f"the probe failed: {reason}")
            case Outcome.MISCONFIGURED:
                self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {reason}")
            case Outcome.NEUTRAL:
                self._probe_until = None

    def _count(self, outcome: Outcome, now: float, reason: str) -> None:
        failed = outcome is Outcome.FAILED
        self._calls.append((now, failed))
        self._failures += failed
        self._drop_old(now)
        calls, policy = len(self._calls), self.policy
        if failed and calls >= policy.calls_min and self._failures >= policy.failure_rate * calls:
            self._open(now, policy.open_s, f"{self._failures} of the latest {calls} calls failed; the last: {reason}")

    def _drop_old(self, now: float) -> None:
        while self._calls and (
            self._calls[0][0] <= now - self.policy.window_s or len(self._calls) > self.policy.calls_max
        ):
            self._failures -= self._calls.popleft()[1]

    def _open(self, now: float, seconds: float, reason: str) -> None:
        doubled = seconds * 2.0 ** min(self._openings, DOUBLINGS_MAX)
        self._reset(open_until=now + min(doubled, self.policy.open_max_s), reason=reason)
        self._openings += 1

    def _close(self) -> None:
        self._reset(open_until=None, reason=None)
        self._openings = 0

    def _reset(self, *, open_until: float | None, reason: str | None) -> None:
        self.epoch += 1
        self.reason, self._open_until, self._probe_until = reason, open_until, None
        self._calls.clear()
        self._failures = 0

    def is_idle(self, now: float) -> bool:
        self._drop_old(now)
        return self._open_until is None and not self._calls and now >= self._held_until
