"""What a circuit hears of calls long after they were answered: jobs that failed though they had been taken."""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from gengui_stream.providers.interface import Blame, Capabilities, Dispatched, Finished, Refused
from gengui_stream.providers.routing.circuit_breaker import CircuitPolicy, Circuits, CircuitState, Pass
from gengui_stream.providers.routing.circuit_metrics import CircuitCollector, shown_circuits
from gengui_stream.providers.routing.router import Route, Router

POLICY = CircuitPolicy(window_s=60, calls_min=4, failure_rate=0.5, open_s=5, misconfigured_s=8, probe_s=7)
KEY = ("runpod", "zit-basic")
FAILED = Refused("worker_failed", "no memory", retryable=True)
BROKEN = Refused("crash_loop", "no worker starts", retryable=True, blame=Blame.CONFIGURATION)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Described:
    """As much of a provider as a router looks at."""

    capabilities: Capabilities


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuits() -> Circuits:
    return Circuits(POLICY)


@pytest.fixture
def router(circuits: Circuits, clock: Clock) -> Router:
    can = Capabilities(size_min=64, size_max=2048, size_step=64, observable=True)
    providers: dict[str, object] = {"runpod": Described(can)}
    return Router(providers, (), circuits, clock)  # type: ignore[arg-type]


def state(circuits: Circuits, clock: Clock) -> CircuitState:
    return next((report.state for report in circuits.reports(clock())), CircuitState.CLOSED)


def took(router: Router, circuits: Circuits, clock: Clock) -> Pass:
    leave = circuits.ask(*KEY, clock())
    assert isinstance(leave, Pass)
    router.told(Route(*KEY, leave=leave), Dispatched("job", "e"))
    return leave


def test_jobs_that_fail_open_it_though_each_was_taken(router: Router, circuits: Circuits, clock: Clock) -> None:
    for _ in range(8):
        took(router, circuits, clock)
    for heard in range(8):
        assert state(circuits, clock) is (CircuitState.CLOSED if heard < 4 else CircuitState.OPEN)
        router.heard(*KEY, FAILED)


def test_a_few_failures_among_many_jobs_do_not(router: Router, circuits: Circuits, clock: Clock) -> None:
    for _ in range(20):
        took(router, circuits, clock)
    for _ in range(9):
        router.heard(*KEY, FAILED)
    for _ in range(11):
        router.heard(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.CLOSED


def test_a_crash_loop_opens_it_at_once(router: Router, circuits: Circuits, clock: Clock) -> None:
    router.heard(*KEY, BROKEN)
    assert state(circuits, clock) is CircuitState.OPEN
    router.heard(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.OPEN, "begun before: nothing new"


def test_that_a_probe_was_taken_proves_nothing_before_its_end(router: Router, circuits: Circuits, clock: Clock) -> None:
    router.heard(*KEY, BROKEN)
    clock.now = 9
    assert took(router, circuits, clock).probe
    assert state(circuits, clock) is CircuitState.HALF_OPEN
    assert not isinstance(circuits.ask(*KEY, clock()), Pass), "one probe at a time"
    router.heard(*KEY, FAILED)
    assert state(circuits, clock) is CircuitState.OPEN
    clock.now = 30
    took(router, circuits, clock)
    router.heard(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.CLOSED


def test_the_owners_own_fault_is_not_heard(router: Router, circuits: Circuits, clock: Clock) -> None:
    for _ in range(20):
        router.heard(*KEY, Refused("no", "bad prompt", retryable=False, blame=Blame.REQUEST))
        router.heard("nobody", "m", FAILED)
    assert list(circuits.reports(clock())) == []


def test_the_state_is_a_metric(router: Router, circuits: Circuits, clock: Clock) -> None:
    registry = CollectorRegistry()
    registry.register(CircuitCollector(circuits, clock))
    labels = {"provider": "runpod", "model": "zit-basic"}

    def value() -> float | None:
        return registry.get_sample_value("gengui_circuit_state", labels)

    assert value() is None
    took(router, circuits, clock)
    assert value() == 0
    router.heard(*KEY, BROKEN)
    assert value() == 2
    clock.now = 9
    assert value() == 1


def test_circuits_are_shown_while_their_role_runs_and_once_each_time() -> None:
    registry = CollectorRegistry()
    for _ in range(2):
        with shown_circuits(registry, Circuits()):
            assert [family.name for family in registry.collect()] == ["gengui_circuit_state"]
    assert list(registry.collect()) == []
