"""Queue positions against a plain count of the earlier requests."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.projections.provider_statistics import MORE
from gengui_stream.queries.queue_position import COUNTED_MAX, QueueKey, QueuePosition, QueueSnapshot, snapshot_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def ticket(second: int, number: int) -> QueueKey:
    return NOW + timedelta(seconds=second), UUID(int=number)


keys_by_provider = st.builds(ticket, st.integers(0, 9), st.integers(0, 2**16))
queues = st.sets(st.tuples(st.sampled_from(["local", "gemini"]), keys_by_provider), max_size=40)


def taken(queue: set[tuple[str, QueueKey]], **known: int) -> QueueSnapshot:
    runs = [("local", 2_500, 4)] if queue else []
    return snapshot_of(((provider, *key) for provider, key in queue), known, runs, NOW)


@given(queues, st.sampled_from(["local", "gemini"]), keys_by_provider)
def test_a_place_counts_all_that_came_before_at_the_same_provider(
    queue: set[tuple[str, QueueKey]], provider: str, own: QueueKey
) -> None:
    before = sum(each < own for name, each in queue if name == provider)
    place = taken(queue).position_of(provider, own)
    assert (place.position, place.at_least) == (before + 1, False)


def test_nothing_is_foretold_where_nothing_is_known() -> None:
    queue = {("gemini", ticket(1, 1)), ("local", ticket(1, 2))}
    assert taken(queue).position_of("gemini", ticket(2, 3)) == QueuePosition(2, at_least=False, starts_in_s=None)


def test_a_wait_is_as_many_runs_as_are_ahead_shared_by_those_who_work() -> None:
    queue = {("local", ticket(second, 1)) for second in range(6)}
    idle, busy = taken(queue), taken(queue, local=3)
    mean_s = (1.0 + 2.5) / 2
    assert idle.position_of("local", ticket(0, 1)).starts_in_s == 0
    assert idle.position_of("local", ticket(4, 1)).starts_in_s == mean_s * 4
    assert busy.position_of("local", ticket(5, 1)).starts_in_s == mean_s * 2


def test_runs_longer_than_the_last_bucket_count_as_it_says() -> None:
    waiting = snapshot_of([], {"local": 1}, [("local", MORE, 1)], NOW)
    assert waiting.position_of("local", ticket(0, 1)).starts_in_s == 300


def test_behind_what_was_counted_a_place_is_a_lower_bound() -> None:
    rows = [("local", *ticket(number, number)) for number in range(COUNTED_MAX)]
    waiting = snapshot_of(rows, {}, [], NOW)
    assert waiting.position_of("local", ticket(COUNTED_MAX, 0)) == QueuePosition(
        COUNTED_MAX + 1, at_least=True, starts_in_s=None
    )
    assert waiting.position_of("local", ticket(10, 10)) == QueuePosition(11, at_least=False, starts_in_s=None)
    assert not waiting.position_of("gemini", ticket(1, 1)).at_least
