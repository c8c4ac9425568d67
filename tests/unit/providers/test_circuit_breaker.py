"""Circuit breakers against a plain oracle that keeps every call and counts them all each time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gengui_stream.providers.routing.circuit_breaker import (
    CIRCUITS_MAX,
    CircuitPolicy,
    Circuits,
    CircuitState,
    Outcome,
    Permit,
    Rejected,
    outcome_of_status,
)

POLICY = CircuitPolicy(
    window_s=10, calls_min=4, calls_max=6, failure_rate=0.5, open_s=5, misconfigured_s=8, open_max_s=30, probe_s=7
)
KEY = ("gemini", "flash")


@dataclass
class Oracle:
    """One circuit, by its specification."""

    epoch: int = 0
    calls: list[tuple[float, bool]] = field(default_factory=list)
    open_until: float | None = None
    openings: int = 0
    probe_began: float | None = None

    def state(self, now: float) -> CircuitState:
        if self.open_until is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if now >= self.open_until else CircuitState.OPEN

    def passes(self, now: float) -> bool:
        match self.state(now):
            case CircuitState.CLOSED:
                return True
            case CircuitState.OPEN:
                return False
            case CircuitState.HALF_OPEN:
                return self.probe_began is None or now >= self.probe_began + POLICY.probe_s

    def open(self, now: float, seconds: float) -> None:
        self.open_until = now + min(POLICY.open_max_s, seconds * 2**self.openings)
        self.openings += 1
        self.calls, self.probe_began = [], None

    def evaluate(self, outcome: Outcome, now: float, *, probe: bool) -> None:
        if outcome is Outcome.MISCONFIGURED:
            self.open(now, POLICY.misconfigured_s)
        elif probe:
            if outcome is Outcome.FAILED:
                self.open(now, POLICY.open_s)
            elif outcome is Outcome.SUCCEEDED:
                self.open_until, self.openings, self.calls = None, 0, []
            self.probe_began = None
        elif outcome is not Outcome.NEUTRAL:
            self.calls.append((now, outcome is Outcome.FAILED))
            window = [failed for at, failed in self.calls if at > now - POLICY.window_s][-POLICY.calls_max :]
            enough = len(window) >= POLICY.calls_min
            if outcome is Outcome.FAILED and enough and sum(window) / len(window) >= POLICY.failure_rate:
                self.open(now, POLICY.open_s)


@dataclass
class Call:
    """A call in progress in the test, which tracks by itself whether its outcome still counts."""

    permit: Permit
    began: float
    counts: bool = True


LIKELY_TO_OPEN = [*Outcome, Outcome.FAILED, Outcome.MISCONFIGURED]
steps = st.lists(
    st.one_of(
        st.just("ask"),
        st.just("ask"),
        st.sampled_from([1.0, 3.0, 8.0, 20.0]),
        st.tuples(st.sampled_from([0, -1]), st.sampled_from(LIKELY_TO_OPEN)),  # the oldest, or the newest
    ),
    min_size=20,
    max_size=60,
)


@given(steps)
@settings(max_examples=150)
def test_it_opens_and_closes_as_specified_and_never_lets_two_probes_run(
    steps: list[str | float | tuple[int, Outcome]],
) -> None:
    circuits, oracle, now = Circuits(POLICY), Oracle(), 0.0
    in_progress: list[Call] = []
    for step in steps:
        if isinstance(step, float):
            now += step
        elif isinstance(step, str):
            answer = circuits.acquire(*KEY, now)
            assert isinstance(answer, Permit) is oracle.passes(now)
            if isinstance(answer, Permit):
                _begin(answer, oracle, in_progress, now)
        elif in_progress:
            _end(circuits, oracle, in_progress, step, now)
        _compare(circuits, oracle, in_progress, now)


def _begin(permit: Permit, oracle: Oracle, in_progress: list[Call], now: float) -> None:
    if permit.probe:
        oracle.probe_began = now
        for call in in_progress:  # an earlier probe was given up
            call.counts = False
    in_progress.append(Call(permit, now))


def _end(circuits: Circuits, oracle: Oracle, in_progress: list[Call], step: tuple[int, Outcome], now: float) -> None:
    call = in_progress.pop(step[0])
    circuits.record(call.permit, step[1], now, reason="503")
    if call.counts:
        before = oracle.open_until
        oracle.evaluate(step[1], now, probe=call.permit.probe)
        if oracle.open_until != before:  # it changed: calls from before say nothing about now
            for other in in_progress:
                other.counts = False


def _compare(circuits: Circuits, oracle: Oracle, in_progress: list[Call], now: float) -> None:
    reports = list(circuits.reports(now))
    state = reports[0].state if reports else CircuitState.CLOSED
    assert state is oracle.state(now)
    assert not reports or (reports[0].reason is None) is (state is CircuitState.CLOSED)
    probes = [call for call in in_progress if call.permit.probe and call.counts and now < call.began + POLICY.probe_s]
    assert len(probes) <= 1


def allowed(circuits: Circuits, now: float) -> Permit:
    answer = circuits.acquire(*KEY, now)
    assert isinstance(answer, Permit)
    return answer


def refused(circuits: Circuits, now: float) -> Rejected:
    answer = circuits.acquire(*KEY, now)
    assert isinstance(answer, Rejected)
    return answer


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_one_configuration_failure_opens_the_circuit_with_its_reason(status: int) -> None:
    circuits = Circuits(POLICY)
    circuits.record(allowed(circuits, 0), outcome_of_status(status), 0, reason=f"HTTP {status}")
    assert refused(circuits, 1) == Rejected(
        f"circuit open: misconfigured: HTTP {status}", retry_at=8, misconfigured=True
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCEEDED),
        (400, Outcome.NEUTRAL),
        (422, Outcome.NEUTRAL),
        (408, Outcome.FAILED),
        (429, Outcome.FAILED),
        (500, Outcome.FAILED),
        (503, Outcome.FAILED),
    ],
)
def test_what_other_statuses_say(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome


def test_too_few_calls_never_open_and_neutral_ones_do_not_count() -> None:
    circuits = Circuits(POLICY)
    for _ in range(3):
        circuits.record(allowed(circuits, 0), Outcome.FAILED, 0)
    for _ in range(10):
        circuits.record(allowed(circuits, 0), Outcome.NEUTRAL, 0)
    circuits.record(allowed(circuits, 1), Outcome.FAILED, 1, reason="HTTP 503")
    assert refused(circuits, 1).reason == "circuit open: 4 of the latest 4 calls failed; the last: HTTP 503"


def test_each_failed_probe_doubles_the_wait_up_to_a_limit_and_a_good_one_forgets_it_all() -> None:
    circuits, now, waits = Circuits(POLICY), 0.0, []
    circuits.record(allowed(circuits, now), Outcome.MISCONFIGURED, now)
    for _ in range(4):
        retry_at = refused(circuits, now).retry_at
        waits.append(retry_at - now)
        now = retry_at
        circuits.record(allowed(circuits, now), Outcome.FAILED, now)
    assert waits == [8, 10, 20, 30]
    now = refused(circuits, now).retry_at
    circuits.record(allowed(circuits, now), Outcome.SUCCEEDED, now)
    circuits.record(allowed(circuits, now), Outcome.MISCONFIGURED, now)
    assert refused(circuits, now).retry_at == now + 8


def test_an_expired_probe_makes_way_for_another_and_is_discarded() -> None:
    circuits = Circuits(POLICY)
    circuits.record(allowed(circuits, 0), Outcome.MISCONFIGURED, 0)
    lost = allowed(circuits, 8)
    assert refused(circuits, 14.9).retry_at == 15
    second = allowed(circuits, 15)
    circuits.record(lost, Outcome.SUCCEEDED, 16)
    assert refused(circuits, 16).reason.startswith("circuit half open, a probe is in progress")
    circuits.record(second, Outcome.SUCCEEDED, 17)
    assert [allowed(circuits, 17).probe for _ in range(3)] == [False] * 3


def test_providers_and_models_do_not_shut_each_other() -> None:
    circuits = Circuits(POLICY)
    circuits.record(allowed(circuits, 0), Outcome.MISCONFIGURED, 0)
    assert isinstance(circuits.acquire("gemini", "pro", 0), Permit)
    assert isinstance(circuits.acquire("runpod", "flash", 0), Permit)


def test_models_that_clients_make_up_do_not_fill_the_memory() -> None:
    circuits = Circuits(POLICY)
    for number in range(CIRCUITS_MAX * 2):
        permit = circuits.acquire("gemini", f"made-up-{number}", 0)
        assert isinstance(permit, Permit)
        circuits.record(permit, Outcome.MISCONFIGURED, 0, reason="HTTP 404")
    assert len(list(circuits.reports(0))) == CIRCUITS_MAX
