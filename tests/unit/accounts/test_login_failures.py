"""The policy of pauses and locks, without a database."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.accounts.login_failures import (
    FORGOTTEN_AFTER_S,
    LOGIN_MAX,
    NETWORK_MAX,
    PAUSES_S,
    WINDOW_S,
    Count,
    Counts,
    current,
    wait_s,
)

NONE = Count(0, 0.0, 0.0)
CLEAR = Counts(NONE, NONE, NONE)

counts = st.builds(
    Count, st.integers(0, 1_000), st.floats(-1, 2 * WINDOW_S, allow_nan=False), st.floats(-1, 2 * WINDOW_S)
)
all_counts = st.builds(Counts, counts, counts, counts)


def waits_after(failures: int, seconds: float = 0.0) -> float:
    pair = Count(failures, seconds, seconds)
    return wait_s(current(replace(CLEAR, pair=pair)), known_network=False)


@pytest.mark.parametrize(("failures", "pause"), [(0, 0), (4, 0), (5, 2), (6, 5), (7, 900), (8, 900), (1_000, 900)])
def test_pauses_are_those_of_the_original(failures: int, pause: float) -> None:
    assert waits_after(failures) == pause
    assert waits_after(failures, pause) == 0
    if pause:
        assert waits_after(failures, pause - 0.5) == 0.5


def test_failures_are_forgotten_after_an_hour() -> None:
    assert current(replace(CLEAR, pair=Count(1_000, 0.0, FORGOTTEN_AFTER_S))).pair == NONE
    assert current(replace(CLEAR, pair=Count(6, 9_999.0, FORGOTTEN_AFTER_S - 1))).pair.failures == 6


def test_beyond_the_bound_of_a_login_only_known_networks_pass() -> None:
    flooded = replace(CLEAR, login=Count(LOGIN_MAX, 600.0, 0.0))
    assert wait_s(flooded, known_network=True) == 0
    assert wait_s(flooded, known_network=False) == WINDOW_S - 600
    assert wait_s(replace(CLEAR, login=Count(LOGIN_MAX - 1, 600.0, 0.0)), known_network=False) == 0


def test_the_bound_of_a_network_is_for_known_ones_too() -> None:
    flooded = replace(CLEAR, network=Count(NETWORK_MAX, 600.0, 0.0))
    assert wait_s(flooded, known_network=True) == wait_s(flooded, known_network=False) == WINDOW_S - 600
    assert wait_s(current(replace(CLEAR, network=Count(NETWORK_MAX, WINDOW_S, 0.0))), known_network=True) == 0


@given(all_counts, st.booleans())
def test_no_wait_is_negative_or_longer_than_the_longest(found: Counts, known: bool) -> None:
    waits = wait_s(current(found), known_network=known)
    assert 0 <= waits <= max(WINDOW_S, *PAUSES_S.values())


@given(all_counts, counts)
def test_failures_from_elsewhere_lock_out_no_known_network(found: Counts, elsewhere: Count) -> None:
    """They count for the login alone."""
    flooded = replace(found, login=elsewhere)
    assert wait_s(current(flooded), known_network=True) == wait_s(current(found), known_network=True)


@given(all_counts, st.integers(1, 100), st.booleans())
def test_more_failures_never_shorten_a_wait(found: Counts, more: int, known: bool) -> None:
    worse = Counts(*(each._replace(failures=each.failures + more) for each in (found.pair, found.login, found.network)))
    assert wait_s(current(worse), known_network=known) >= wait_s(current(found), known_network=known)


@given(all_counts, st.floats(0, 2 * WINDOW_S), st.booleans())
def test_after_the_wait_an_attempt_is_admitted(found: Counts, later: float, known: bool) -> None:
    waits = wait_s(current(found), known_network=known)
    passed = max(waits, later) + 1.001  # clocks of waiting transactions may differ by a moment

    def after(count: Count) -> Count:
        return count._replace(first_s=count.first_s + passed, last_s=count.last_s + passed)

    moved = Counts(after(found.pair), after(found.login), after(found.network))
    assert wait_s(current(moved), known_network=known) == 0
