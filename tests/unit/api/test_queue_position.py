"""Queue positions against a plain count of what comes earlier."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.projections.provider_statistics import MORE
from gengui_stream.queries.queue_position import COUNTED_MAX, QueuedJob, QueuePosition, QueueSnapshot, snapshot_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ME, OTHER = UUID(int=1), UUID(int=2)


def job(start_tag: int, number: int, owner_id: UUID = OTHER) -> QueuedJob:
    return QueuedJob(start_tag, NOW + timedelta(seconds=start_tag), UUID(int=number), owner_id)


providers = st.sampled_from(["local", "gemini"])
owners = st.integers(1, 4).map(lambda number: UUID(int=number))
numbers = st.integers(1, 2**16)
waiting = st.dictionaries(numbers, st.tuples(providers, st.integers(0, 9), owners, st.booleans()), max_size=40)


def taken(*jobs: QueuedJob, **running: int) -> QueueSnapshot:
    return snapshot_of([], [("local", each) for each in jobs], running, [("local", 2_500, 4)] if jobs else [], NOW)


@given(waiting)
def test_a_position_counts_all_that_go_before_at_the_same_provider(
    given: dict[int, tuple[str, int, UUID, bool]],
) -> None:
    handed_over = [(provider, UUID(int=number)) for number, (provider, _, _, there) in given.items() if there]
    jobs = [
        (provider, job(start_tag, number, owner))
        for number, (provider, start_tag, owner, there) in given.items()
        if not there
    ]
    snapshot = snapshot_of(handed_over, jobs, {}, [], NOW)
    for name, one in handed_over:
        before = [other for provider, other in handed_over if provider == name]
        assert snapshot.position_of(name, one, ME).position == before.index(one) + 1
    for name, each in jobs:
        before_it = sum(provider == name for provider, _ in handed_over)
        before_it += sum(provider == name and other < each for provider, other in jobs)
        found = snapshot.position_of(name, each.generation_id, ME)
        assert (found.position, found.at_least) == (before_it + 1, False)


def test_one_that_was_requested_since_comes_after_its_owner_s_others_and_after_none_that_is_over() -> None:
    snapshot = taken(
        *(job(start_tag, start_tag, OTHER) for start_tag in range(10, 20)), job(10, 30, ME), job(11, 31, ME)
    )
    new = UUID(int=99)
    assert snapshot.position_of("local", new, OTHER).position == 13
    assert snapshot.position_of("local", new, ME).position == 6, "with the third of the other: its tag is 12"
    assert snapshot.position_of("local", new, UUID(int=3)).position == 3


def test_one_whose_job_is_not_finished_yet_counts_once() -> None:
    both = snapshot_of([("local", UUID(int=1))], [("local", job(0, 1)), ("local", job(1, 2))], {}, [], NOW)
    assert both.position_of("local", UUID(int=2), ME).position == 2


def test_nothing_is_estimated_where_nothing_is_known() -> None:
    snapshot = snapshot_of([("gemini", UUID(int=1))], [("local", job(1, 2))], {}, [], NOW)
    assert snapshot.position_of("gemini", UUID(int=3), ME) == QueuePosition(2, at_least=False, starts_in_s=None)


def test_a_wait_is_as_many_runs_as_are_ahead_shared_by_those_who_work() -> None:
    jobs = [job(start_tag, start_tag + 1) for start_tag in range(6)]
    idle, busy = taken(*jobs), taken(*jobs, local=3)
    mean_s = (1.0 + 2.5) / 2
    assert idle.position_of("local", UUID(int=1), ME).starts_in_s == 0
    assert idle.position_of("local", UUID(int=5), ME).starts_in_s == mean_s * 4
    assert busy.position_of("local", UUID(int=6), ME).starts_in_s == mean_s * 2


def test_runs_longer_than_the_last_bucket_count_as_its_bound() -> None:
    snapshot = snapshot_of([], [], {"local": 1}, [("local", MORE, 1)], NOW)
    assert snapshot.position_of("local", UUID(int=1), ME).starts_in_s == 300


def test_behind_what_was_counted_a_position_is_a_lower_bound() -> None:
    jobs = [("local", job(number, number + 1)) for number in range(COUNTED_MAX)]
    snapshot = snapshot_of([], jobs, {}, [], NOW)
    assert snapshot.position_of("local", UUID(int=COUNTED_MAX + 9), OTHER) == QueuePosition(
        COUNTED_MAX + 1, at_least=True, starts_in_s=None
    )
    assert snapshot.position_of("local", UUID(int=11), ME) == QueuePosition(11, at_least=False, starts_in_s=None)
    assert not snapshot.position_of("gemini", UUID(int=1), ME).at_least
