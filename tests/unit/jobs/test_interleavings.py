"""Two dispatch processes in any interleaving, with crashes, pauses, lost responses and cancellations, over a projection
that lags behind the log: no attempt is called twice, only announced attempts are called, and every generation ends.

Every step of a process towards the log, the projection, the jobs or a provider waits at a gate. The state machine opens
the gates one by one in any order, and kills a process at any of them. A process that is paused at a gate goes on later,
after its leases have ended and the other process has taken its jobs over.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Literal, TypeAlias, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gengui_stream.domain.generation.state import Status
from gengui_stream.domain.identifiers import uuid7
from gengui_stream.projections.outcomes import Applied
from gengui_stream.providers.interface import (
    FaultDomain,
    Finished,
    Lost,
    Refused,
    StatusOutcome,
)
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.provider import NextAnswer, ResponseLost
from gengui_stream.testing.system import DispatchProcess, InMemorySystem
from schemas.events import Event, GenerationCancelRequested, GenerationDispatched, GenerationRequested, Output
from tests.integration.running import a_request
from tests.unit.jobs.gates import GatedLog, GatedProvider, Gates, current_process

PROCESSES = 2
LEASE_S = 31.0
LIMIT = timedelta(seconds=300)
ROUNDS = 60
GATES_A_STEP = 12
TURNS = 30
"""Of the event loop: more than any process needs from one gate to the next."""

ENDS: Sequence[StatusOutcome] = (
    Finished((Output(object_key="a.png"),)),
    Refused("worker_failed", "no memory", retryable=True),
    Lost("its worker is gone"),
)
ANSWERS: Sequence[NextAnswer] = (
    ResponseLost(),
    Refused("busy", "too many requests", True, FaultDomain.CAPACITY, retry_after_s=90.0),
    Refused("broken", "an outage", retryable=True),
)


Kind: TypeAlias = Literal["dispatch", "cancel", "reconcile"]


class Interleavings(RuleBasedStateMachine):
    """`processes`: those that run; `tasks`: what each of them has in progress."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        clock, self.gates = Clock(), Gates()
        self.providers = [GatedProvider(name, clock, self.gates) for name in ("first", "second")]
        self.log = GatedLog(clock, self.gates)
        self.system = InMemorySystem(self.providers, clock, log=self.log)
        self.system.projection.between_looks = self.look
        self.system.projection.after_load = self.gates.passed
        self.system.jobs.before_operation = self.gates.passed
        self.requests: list[GenerationRequested] = []
        self.started = 0
        self.processes = [self.a_process() for _ in range(PROCESSES)]
        self.tasks: list[list[asyncio.Task[int]]] = [[] for _ in range(PROCESSES)]

    def a_process(self) -> DispatchProcess:
        self.started += 1
        return self.system.process(f"process-{self.started}", fallbacks=["second"])

    async def look(self, stop: asyncio.Event) -> bool:
        await self.gates.passed()
        return stop.is_set()

    def run(self, step: Awaitable[object] | None = None) -> None:
        async def settled() -> None:
            if step is not None:
                await step
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.runner.run(settled())

    def append(self, event: Event) -> None:
        self.run(self.log.append_at_once([event]))

    @precondition(lambda self: len(self.requests) < 4)
    @rule(pinned=st.booleans(), max_attempts=st.integers(1, 3))
    def request(self, pinned: bool, max_attempts: int) -> None:
        now = self.system.clock.now()
        generation_id = uuid7(1_780_000_000_000 + len(self.requests), b"generation")
        made = a_request(
            id=generation_id,
            generation_id=generation_id,
            provider="first",
            provider_choice={"source": "request" if pinned else "default"},
            max_attempts=max_attempts,
            occurred_at=now,
            deadline=now + LIMIT,
        )
        self.requests.append(made)
        self.append(made)

    @precondition(lambda self: self.requests)
    @rule(number=st.integers(0, 3))
    def request_cancellation(self, number: int) -> None:
        request = self.requests[number % len(self.requests)]
        event_id = uuid7(1_780_000_001_000, request.generation_id.bytes)
        common = {"id": event_id, "generation_id": request.generation_id, "occurred_at": self.system.clock.now()}
        self.append(GenerationCancelRequested.model_validate({**common, "producer": "test"}))

    @rule(answer=st.sampled_from(ANSWERS))
    def decide_the_next_answer(self, answer: NextAnswer) -> None:
        self.providers[0].next_answers.append(answer)

    @precondition(lambda self: any(not run.ended for provider in self.providers for run in provider.runs))
    @rule(number=st.integers(0, 3), status=st.sampled_from(ENDS))
    def end_a_run(self, number: int, status: StatusOutcome) -> None:
        running = [run for provider in self.providers for run in provider.runs if not run.ended]
        running[number % len(running)].status = status

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0]))
    def advance(self, seconds: float) -> None:
        self.system.advance(seconds)

    @rule(
        number=st.integers(0, PROCESSES - 1),
        kind=st.sampled_from(["dispatch", "cancel", "reconcile"]),
        gates=st.integers(0, 8),
    )
    def work(self, number: int, kind: Kind, gates: int) -> None:
        """Starts on the due jobs, and goes as far as that many gates."""
        self.start(number, kind)
        self.pass_gates(gates)

    def start(self, number: int, kind: Kind) -> None:
        process = self.processes[number]
        steps = {"dispatch": process.dispatch, "cancel": process.cancel, "reconcile": process.reconcile}

        async def started() -> None:
            current_process.set(number)
            self.tasks[number].append(asyncio.create_task(steps[kind]()))

        self.run(started())

    @precondition(lambda self: self.gates.waiting)
    @rule(number=st.integers(0, PROCESSES - 1), kinds=st.permutations(get_args(Kind)))
    def take_over(self, number: int, kinds: Sequence[Kind]) -> None:
        """The other process is paused for longer than a lease, while this one does what is due."""
        self.system.advance(LEASE_S)
        for kind in kinds:
            self.start(number, kind)
            for _ in range(GATES_A_STEP):
                if self.gates.pass_one_of(number):
                    self.run()

    @rule()
    def lag(self) -> None:
        self.log.hide_what_follows()

    @precondition(lambda self: self.log.shown is not None)
    @rule(partition=st.integers(0, 3))
    def project_one(self, partition: int) -> None:
        self.log.show_one_more(partition)
        self.system.projection.catch_up()

    @precondition(lambda self: self.log.shown is not None)
    @rule()
    def catch_up(self) -> None:
        self.log.shown = None
        self.system.projection.catch_up()

    def pass_gates(self, number: int) -> None:
        for _ in range(number):
            if self.gates.waiting:
                self.gates.pass_one(-1)
                self.run()

    @precondition(lambda self: self.gates.waiting)
    @rule(number=st.integers(0, 5))
    def pass_a_gate(self, number: int) -> None:
        self.gates.pass_one(number)
        self.run()

    @rule(number=st.integers(0, PROCESSES - 1), leases_end=st.booleans())
    def kill(self, number: int, leases_end: bool) -> None:
        killed = [task for task in self.tasks[number] if not task.done()]
        for task in killed:
            task.cancel()
        self.run(asyncio.gather(*killed, return_exceptions=True) if killed else None)
        self.tasks[number] = [task for task in self.tasks[number] if task not in killed]
        self.processes[number] = self.a_process()
        if leases_end:
            self.system.advance(LEASE_S)

    @invariant()
    def no_attempt_is_called_twice(self) -> None:
        calls = Counter((call.generation_id, call.attempt) for provider in self.providers for call in provider.calls)
        assert all(number == 1 for number in calls.values()), calls

    @invariant()
    def what_is_called_was_announced_and_counts(self) -> None:
        announced = {
            (outcome.event.generation_id, outcome.event.attempt, outcome.event.provider)
            for outcome in self.system.projection.outcomes.values()
            if isinstance(outcome, Applied) and isinstance(outcome.event, GenerationDispatched)
        }
        for provider in self.providers:
            for call in provider.calls:
                assert (call.generation_id, call.attempt, provider.name) in announced

    def teardown(self) -> None:
        try:
            self.run(self.drained())
            self.every_generation_has_ended()
        finally:
            self.runner.close()

    async def drained(self) -> None:
        """Lets everything in progress go on, and works until no job is left, or for far longer than any deadline."""
        self.log.shown = None
        self.gates.pass_all()
        await asyncio.gather(*(task for tasks in self.tasks for task in tasks))
        for provider in self.providers:
            provider.next_answers.clear()
        for _ in range(ROUNDS):
            for process in self.processes:
                await process.work()
            self.system.advance(31)

    def every_generation_has_ended(self) -> None:
        open_generations = [state for state in self.system.projection.generations() if not state.terminal]
        assert open_generations == []
        assert {row.job.kind for row in self.system.jobs.rows.values()} <= {"thumbnail"}
        running = {(provider.name, run.job_id) for provider in self.providers for run in provider.runs if not run.ended}
        for state in self.system.projection.generations():
            if state.status in {Status.CANCELED, Status.TIMED_OUT} and state.provider_job_id is not None:
                assert (state.provider, state.provider_job_id) not in running


Interleavings.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestInterleavings = Interleavings.TestCase
