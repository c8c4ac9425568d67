"""Circuit breakers, one for each provider and model. Times are arguments: seconds of any clock that only grows.

Closed: calls pass. It opens at once when the provider is misconfigured, for then no call can do better, and when too
many of the latest calls failed. Open: nothing passes for a while. Half open: one probe passes at a time, and what
comes of it closes the circuit or opens it for longer. A probe that nobody tells the end of is given up.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CIRCUITS_MAX: Final = 1_000
"""Models are named by clients: beyond so many circuits those with nothing to say are forgotten, then the oldest."""

WHY_MAX: Final = 200
DOUBLINGS_MAX: Final = 16
MISCONFIGURED: Final = "misconfigured"
"""How the reason of a circuit begins that waits for people."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """What a call says about its provider. NEUTRAL: nothing, such as a bad request, or a call that was not made."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISCONFIGURED = "misconfigured"
    NEUTRAL = "neutral"


def outcome_of_status(status: int) -> Outcome:
    """401, 402, 403, 404: key, bill, permission or model are wrong, whatever is asked for."""
    if status in {401, 402, 403, 404}:
        return Outcome.MISCONFIGURED
    if status >= 500 or status in {408, 429}:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if 200 <= status < 300 else Outcome.NEUTRAL


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """`open_s` doubles with each probe that fails, up to `open_max_s`. Only the latest `calls_max` calls are judged."""

    window_s: float = 60.0
    calls_min: int = 10
    calls_max: int = 1_000
    failure_rate: float = 0.5
    open_s: float = 15.0
    misconfigured_s: float = 60.0
    open_max_s: float = 600.0
    probe_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave for one call, to be given back with its outcome. `epoch`: the outcome of a call that began before the
    circuit last changed says nothing about now."""

    provider: str
    model: str
    epoch: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Shut:
    """No leave. `retry_at`: nothing changes before. `misconfigured`: nor then, unless people act."""

    why: str
    retry_at: float
    misconfigured: bool = False


@dataclass(frozen=True, slots=True)
class CircuitReport:
    """For people and metrics. `why` is None when closed."""

    provider: str
    model: str
    state: CircuitState
    why: str | None


class Circuits:
    """Every circuit of this process."""

    def __init__(self, policy: CircuitPolicy | None = None) -> None:
        self._policy = policy or CircuitPolicy()
        self._circuits: dict[tuple[str, str], _Circuit] = {}

    def ask(self, provider: str, model: str, now: float) -> Pass | Shut:
        """Leave for a call. Every Pass must come back by `record`, NEUTRAL if the call is not made after all."""
        circuit = self._circuits.get((provider, model))
        if circuit is None:
            return Pass(provider, model, epoch=0, probe=False)
        shut = circuit.shut(now)
        if shut is not None:
            return shut
        probe = circuit.begin(now)
        return Pass(provider, model, circuit.epoch, probe)

    def record(self, leave: Pass, outcome: Outcome, now: float, *, why: str = "") -> None:
        """What came of the call. `why` is for people, and holds no secret."""
        self._kept(leave.provider, leave.model, now).record(leave, outcome, now, why[:WHY_MAX])

    def hear(self, provider: str, model: str, outcome: Outcome, now: float, *, why: str = "") -> None:
        """What became of a call long after it was answered, or of somebody else's: no leave comes back by it. A call
        that was answered counts as one that succeeded; a failure of it takes the place of that."""
        if outcome is not Outcome.NEUTRAL:
            self._kept(provider, model, now).hear(outcome, now, why[:WHY_MAX])

    def reports(self, now: float) -> Iterator[CircuitReport]:
        """May be called from any thread."""
        for (provider, model), circuit in list(self._circuits.items()):
            yield CircuitReport(provider, model, circuit.state(now), circuit.why)

    def _kept(self, provider: str, model: str, now: float) -> "_Circuit":
        if (provider, model) not in self._circuits:
            self._forget_idle(now)
            self._circuits[provider, model] = _Circuit(self._policy)
        return self._circuits[provider, model]

    def _forget_idle(self, now: float) -> None:
        if len(self._circuits) < CIRCUITS_MAX:
            return
        self._circuits = {key: one for key, one in self._circuits.items() if not one.is_idle(now)}
        while len(self._circuits) >= CIRCUITS_MAX:
            del self._circuits[next(iter(self._circuits))]


@dataclass(slots=True)
class _Circuit:
    policy: CircuitPolicy
    epoch: int = 0
    why: str | None = None
    _calls: deque[tuple[float, bool]] = field(default_factory=deque)
    _failures: int = 0
    _open_until: float | None = None
    _probe_until: float | None = None
    _openings: int = 0

    def state(self, now: float) -> CircuitState:
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self._open_until else CircuitState.HALF_OPEN

    def shut(self, now: float) -> Shut | None:
        if self._open_until is None:
            return None
        if now < self._open_until:
            return Shut(f"circuit open: {self.why}", self._open_until, self._is_misconfigured())
        if self._probe_until is not None and now < self._probe_until:
            why = f"circuit half open, a probe is under way: {self.why}"
            return Shut(why, self._probe_until, self._is_misconfigured())
        return None

    def _is_misconfigured(self) -> bool:
        return self.why is not None and self.why.startswith(MISCONFIGURED)

    def begin(self, now: float) -> bool:
        """Whether this call is the probe. An earlier one that was given up must not speak any more."""
        if self._open_until is None:
            return False
        self.epoch += self._probe_until is not None
        self._probe_until = now + self.policy.probe_s
        return True

    def record(self, leave: Pass, outcome: Outcome, now: float, why: str) -> None:
        if leave.epoch != self.epoch or leave.probe != (self._open_until is not None):
            return
        if leave.probe:
            self._judge_probe(outcome, now, why)
        elif outcome is Outcome.MISCONFIGURED:
            self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {why}")
        elif outcome is not Outcome.NEUTRAL:
            self._count(outcome, now, why)

    def hear(self, outcome: Outcome, now: float, why: str) -> None:
        """While it is open, only of what was begun before: that says nothing new."""
        match self.state(now):
            case CircuitState.OPEN:
                return
            case CircuitState.HALF_OPEN:
                self._judge_probe(outcome, now, why)
            case CircuitState.CLOSED if outcome is Outcome.MISCONFIGURED:
                self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {why}")
            case CircuitState.CLOSED if outcome is Outcome.FAILED:
                self._take_back()
                self._count(outcome, now, why)
            case _:
                return

    def _take_back(self) -> None:
        """The oldest call that counts as one that succeeded: it did not."""
        taken = next((call for call in self._calls if not call[1]), None)
        if taken is not None:
            self._calls.remove(taken)

    def _judge_probe(self, outcome: Outcome, now: float, why: str) -> None:
        match outcome:
            case Outcome.SUCCEEDED:
                self._close()
            case Outcome.FAILED:
                self._open(now, self.policy.open_s, f"the probe failed: {why}")
            case Outcome.MISCONFIGURED:
                self._open(now, self.policy.misconfigured_s, f"{MISCONFIGURED}: {why}")
            case Outcome.NEUTRAL:
                self._probe_until = None

    def _count(self, outcome: Outcome, now: float, why: str) -> None:
        failed = outcome is Outcome.FAILED
        self._calls.append((now, failed))
        self._failures += failed
        self._drop_old(now)
        calls, policy = len(self._calls), self.policy
        if failed and calls >= policy.calls_min and self._failures >= policy.failure_rate * calls:
            self._open(now, policy.open_s, f"{self._failures} of the latest {calls} calls failed; the last: {why}")

    def _drop_old(self, now: float) -> None:
        while self._calls and (
            self._calls[0][0] <= now - self.policy.window_s or len(self._calls) > self.policy.calls_max
        ):
            self._failures -= self._calls.popleft()[1]

    def _open(self, now: float, seconds: float, why: str) -> None:
        doubled = seconds * 2.0 ** min(self._openings, DOUBLINGS_MAX)
        self._start_over(open_until=now + min(doubled, self.policy.open_max_s), why=why)
        self._openings += 1

    def _close(self) -> None:
        self._start_over(open_until=None, why=None)
        self._openings = 0

    def _start_over(self, *, open_until: float | None, why: str | None) -> None:
        self.epoch += 1
        self.why, self._open_until, self._probe_until = why, open_until, None
        self._calls.clear()
        self._failures = 0

    def is_idle(self, now: float) -> bool:
        self._drop_old(now)
        return self._open_until is None and not self._calls
