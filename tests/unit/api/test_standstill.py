"""A projection stands still when it is behind and does not move, and not while it works or has nothing to do."""

from api.standstill import STANDS_STILL_S, StandstillDetector


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_a_partition_that_is_behind_and_does_not_move_stands_still() -> None:
    clock = Clock()
    detector = StandstillDetector(clock)
    ends = {0: 10, 1: 10, 2: 10, 3: 10}
    assert detector.observe(ends, {0: 10, 1: 5, 2: 5}) == {}
    clock.now += STANDS_STILL_S
    assert detector.observe(ends, {0: 10, 1: 5, 2: 6}) == {1: STANDS_STILL_S, 3: STANDS_STILL_S}
    clock.now += 1
    assert detector.observe(ends, {0: 10, 1: 7, 2: 6, 3: 10}) == {}
    clock.now += STANDS_STILL_S - 1
    assert detector.observe(ends, {0: 10, 1: 10, 2: 6, 3: 10}) == {2: STANDS_STILL_S}


def test_an_event_after_a_long_silence_does_not_make_it_stand_still() -> None:
    clock = Clock()
    detector = StandstillDetector(clock)
    assert detector.observe({0: 10}, {0: 10}) == {}
    clock.now += 10 * STANDS_STILL_S
    assert detector.observe({0: 11}, {0: 10}) == {}
