"""Whether a projection catches up: from two samples, and from a window of them."""

import pytest

from gengui_stream.projecting.progress.catch_up import CatchUp, ProgressWindow, Sample, Trend, catch_up


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ((0, 10), (10, 10), CatchUp("caught_up", 5.0, 0.0, 0.0)),
        ((0, 1_000), (100, 1_000), CatchUp("catching_up", 50.0, 0.0, 18.0)),
        ((0, 1_000), (100, 1_050), CatchUp("catching_up", 50.0, 25.0, 38.0)),
        ((0, 1_000), (100, 1_200), CatchUp("falling_behind", 50.0, 100.0, None)),
        ((0, 1_000), (100, 1_100), CatchUp("falling_behind", 50.0, 50.0, None)),
        ((7, 1_000), (7, 1_200), CatchUp("standing_still", 0.0, 100.0, None)),
    ],
)
def test_a_trend_follows_from_both_rates(first: tuple[int, int], last: tuple[int, int], expected: CatchUp) -> None:
    assert catch_up(Sample(0.0, *first), Sample(2.0, *last), paused=False) == expected


def test_what_is_in_progress_under_load_is_no_lag() -> None:
    """As many are appended as projected, and less than a second's work is left: it keeps up."""
    found = catch_up(Sample(0.0, 1_000, 1_400), Sample(1.0, 2_000, 2_400), paused=False)
    assert (found.trend, found.eta_s) == ("caught_up", 0.4)


@pytest.mark.parametrize(("end", "eta_s"), [(10, 0.0), (11, None)])
def test_a_paused_partition_never_catches_up(end: int, eta_s: float | None) -> None:
    found = catch_up(Sample(0.0, 10, end), Sample(1.0, 10, end), paused=True)
    assert (found.trend, found.eta_s) == ("paused", eta_s)


@pytest.mark.parametrize(("behind", "trend"), [(0, "caught_up"), (5, "standing_still")])
def test_one_sample_tells_no_rate(behind: int, trend: Trend) -> None:
    only = Sample(3.0, 10, 10 + behind)
    assert catch_up(only, only, paused=False).trend == trend


def test_a_window_forgets_old_samples_and_knows_how_long_nothing_moved() -> None:
    window = ProgressWindow()
    for second in range(60):
        window.add(Sample(float(second), min(second, 20) * 100, 10_000))
    assert window.standing_s == 39.0
    assert window.catch_up(paused=False).trend == "standing_still"
    window.add(Sample(60.0, 4_000, 10_000))
    assert window.standing_s == 0.0
    found = window.catch_up(paused=False)
    assert (found.trend, found.rate, found.eta_s) == ("catching_up", 200.0, 30.0)


def test_a_caught_up_partition_does_not_stand_still() -> None:
    window = ProgressWindow()
    for second in range(60):
        window.add(Sample(float(second), 10, 10))
    assert window.standing_s == 0.0
    window.add(Sample(60.0, 10, 11))
    assert window.standing_s == 1.0
