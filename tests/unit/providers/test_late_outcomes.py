"""Late outcomes: circuit breakers and jobs that fail after the provider accepted them."""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from gengui_stream.providers.interface import Capabilities, Dispatched, FaultDomain, Finished, Refused
from gengui_stream.providers.routing.circuit_breaker import CircuitPolicy, Circuits, CircuitState, Permit
from gengui_stream.providers.routing.circuit_metrics import CircuitCollector, registered_circuits
from gengui_stream.providers.routing.decision import Route
from gengui_stream.providers.routing.router import Router

POLICY = CircuitPolicy(window_s=60, calls_min=4, failure_rate=0.5, open_s=5, misconfigured_s=8, probe_s=7)
KEY = ("runpod", "zit-basic")
FAILED = Refused("worker_failed", "no memory", retryable=True)
BROKEN = Refused("crash_loop", "no worker starts", retryable=True, fault_domain=FaultDomain.CONFIGURATION)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Described:
    """The part of a provider that a router uses."""

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


def took(router: Router, circuits: Circuits, clock: Clock) -> Permit:
    permit = circuits.acquire(*KEY, clock())
    assert isinstance(permit, Permit)
    router.record(Route(*KEY, permit=permit), Dispatched("job", "e"))
    return permit


def test_failed_jobs_open_the_circuit_though_each_was_accepted(
    router: Router, circuits: Circuits, clock: Clock
) -> None:
    for _ in range(8):
        took(router, circuits, clock)
    for recorded in range(8):
        assert state(circuits, clock) is (CircuitState.CLOSED if recorded < 4 else CircuitState.OPEN)
        router.record_late(*KEY, FAILED)


def test_a_few_failures_among_many_jobs_do_not(router: Router, circuits: Circuits, clock: Clock) -> None:
    for _ in range(20):
        took(router, circuits, clock)
    for _ in range(9):
        router.record_late(*KEY, FAILED)
    for _ in range(11):
        router.record_late(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.CLOSED


def test_a_crash_loop_opens_it_at_once(router: Router, circuits: Circuits, clock: Clock) -> None:
    router.record_late(*KEY, BROKEN)
    assert state(circuits, clock) is CircuitState.OPEN
    router.record_late(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.OPEN, "begun before: nothing new"


def test_an_accepted_probe_proves_nothing_before_its_end(router: Router, circuits: Circuits, clock: Clock) -> None:
    router.record_late(*KEY, BROKEN)
    clock.now = 9
    assert took(router, circuits, clock).probe
    assert state(circuits, clock) is CircuitState.HALF_OPEN
    assert not isinstance(circuits.acquire(*KEY, clock()), Permit), "one probe at a time"
    router.record_late(*KEY, FAILED)
    assert state(circuits, clock) is CircuitState.OPEN
    clock.now = 30
    took(router, circuits, clock)
    router.record_late(*KEY, Finished(()))
    assert state(circuits, clock) is CircuitState.CLOSED


def test_a_fault_of_the_request_is_not_recorded(router: Router, circuits: Circuits, clock: Clock) -> None:
    for _ in range(20):
        router.record_late(*KEY, Refused("no", "bad prompt", retryable=False, fault_domain=FaultDomain.REQUEST))
        router.record_late("unknown", "m", FAILED)
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
    router.record_late(*KEY, BROKEN)
    assert value() == 2
    clock.now = 9
    assert value() == 1


def test_circuits_are_shown_while_their_role_runs_and_once_each_time() -> None:
    registry = CollectorRegistry()
    for _ in range(2):
        with registered_circuits(registry, Circuits()):
            assert [family.name for family in registry.collect()] == ["gengui_circuit_state"]
    assert list(registry.collect()) == []
