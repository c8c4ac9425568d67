"""The jobs that states call for, and what a transition adds and removes."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings

from gengui_stream.domain.generation.evolve import evolve
from gengui_stream.domain.generation.jobs import due_jobs, new_jobs, obsolete_keys
from gengui_stream.domain.generation.state import Generation, Status
from schemas.events import Event, GenerationCompleted, GenerationDeleted, GenerationRequested, Output, OutputsDeleted
from tests.events import GENERATION, NOON, OWNER, histories
from tests.timings import TIMINGS


def states(history: list[Event]) -> list[Generation]:
    found: list[Generation] = []
    for event in history:
        state = evolve(found[-1] if found else None, event)
        if state is not None:
            found.append(state)
    return found


@settings(max_examples=200)
@given(histories())
def test_open_generations_are_reconciled_queued_ones_dispatched_and_settled_ones_left_alone(
    history: list[Event],
) -> None:
    for state in states(history):
        kinds = [job.kind for job in due_jobs(state, TIMINGS)]
        assert kinds.count("reconcile") == (not state.terminal)
        assert ("dispatch" in kinds) == (state.status is Status.QUEUED)
        assert ("cancel" in kinds) == (state.cancel_requested and not state.terminal)
        assert bool(kinds) == (not state.settled)
        assert all(job.generation_id == GENERATION for job in due_jobs(state, TIMINGS))


@settings(max_examples=200)
@given(histories())
def test_a_table_that_follows_the_transitions_has_every_job_that_is_due(history: list[Event]) -> None:
    """It may have more: the handlers drop a job that the state no longer calls for."""
    table: set[str] = set()
    before: Generation | None = None
    for state in states(history):
        table.difference_update(obsolete_keys(before, state))
        table.update(job.key for job in new_jobs(before, state, TIMINGS))
        assert table >= {job.key for job in due_jobs(state, TIMINGS)}
        assert not any(key.startswith("dispatch:") for key in table) or not state.terminal
        before = state


@settings(max_examples=200)
@given(histories())
def test_a_transition_makes_the_jobs_that_its_earlier_state_did_not_call_for(history: list[Event]) -> None:
    for before, after in pairwise(states(history)):
        known = due_jobs(before, TIMINGS)
        assert list(new_jobs(before, after, TIMINGS)) == [job for job in due_jobs(after, TIMINGS) if job not in known]


def said(cls: type[Event], **fields: object) -> Event:
    common = {"id": GENERATION, "generation_id": GENERATION, "occurred_at": NOON, "producer": "t"}
    return cls.model_validate({**common, **fields})


REQUESTED = said(
    GenerationRequested, owner_id=OWNER, prompt="p", seed=1, width=512, height=512, model="m", provider="local"
)


def test_a_deleted_generation_has_a_deletion_job_until_its_objects_are_gone() -> None:
    completed = said(GenerationCompleted, outputs=(Output(object_key="a.png"),))
    *_, deleted = states([REQUESTED, completed, said(GenerationDeleted)])
    [job] = due_jobs(deleted, TIMINGS)
    assert (job.kind, job.delay_seconds) == ("deletion", timedelta(days=1).total_seconds())
    *_, gone = states([REQUESTED, completed, said(GenerationDeleted), said(OutputsDeleted)])
    assert (due_jobs(gone, TIMINGS), gone.settled, gone.outputs) == ((), True, ())


def test_a_queued_generation_is_reconciled_at_its_deadline_and_a_dispatched_one_after_its_silence() -> None:
    [queued] = states([REQUESTED])
    dispatch, reconcile = due_jobs(queued, TIMINGS)
    assert (dispatch.kind, dispatch.delay_seconds) == ("dispatch", 0.0)
    assert (reconcile.delay_seconds, reconcile.not_after) == (None, NOON + timedelta(minutes=10))
    running = queued._replace(status=Status.DISPATCHED)
    [sooner] = new_jobs(queued, running, TIMINGS)
    assert (sooner.key, sooner.delay_seconds) == (reconcile.key, 120.0)
