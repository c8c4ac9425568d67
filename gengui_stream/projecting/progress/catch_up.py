"""Whether a projection catches up with the log, how fast, and when it will have. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Trend: TypeAlias = Literal["caught_up", "catching_up", "falling_behind", "standing_still", "paused"]

KEEPS_UP_S: Final = 1.0
"""A projection that would need less than this for what it is behind keeps up: under load there is always something in
progress."""

WINDOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: seconds of a monotonic clock. `next_offset`: the checkpoint. `end`: the next offset of the log."""

    at: float
    next_offset: int
    end: int

    @property
    def behind(self) -> int:
        return max(0, self.end - self.next_offset)


@dataclass(frozen=True, slots=True)
class CatchUp:
    """`rate`: projected events a second; `append_rate`: appended ones. `eta_s`: seconds until everything is projected,
    if both rates stay; 0 when it is, None when it never will be."""

    trend: Trend
    rate: float
    append_rate: float
    eta_s: float | None


def catch_up(first: Sample, last: Sample, *, paused: bool) -> CatchUp:
    """What happened between the two samples."""
    seconds = last.at - first.at
    rate = max(0.0, (last.next_offset - first.next_offset) / seconds) if seconds > 0 else 0.0
    append_rate = max(0.0, (last.end - first.end) / seconds) if seconds > 0 else 0.0
    trend, eta_s = _trend(last.behind, rate, append_rate, paused=paused)
    return CatchUp(trend, round(rate, 1), round(append_rate, 1), None if eta_s is None else round(eta_s, 1))


def _trend(behind: int, rate: float, append_rate: float, *, paused: bool) -> tuple[Trend, float | None]:
    if paused:
        return "paused", None if behind else 0.0
    if not behind:
        return "caught_up", 0.0
    if not rate:
        return "standing_still", None
    if behind <= rate * KEEPS_UP_S:
        return "caught_up", behind / rate
    net = rate - append_rate
    return ("catching_up", behind / net) if net > 0 else ("falling_behind", None)


@dataclass(slots=True)
class ProgressWindow:
    """The samples of one partition in the last WINDOW_S. `moved_at`: when its checkpoint last moved, or it was last
    caught up."""

    samples: deque[Sample] = field(default_factory=deque)
    moved_at: float = 0.0

    def add(self, sample: Sample) -> None:
        if not self.samples or not sample.behind or sample.next_offset != self.samples[-1].next_offset:
            self.moved_at = sample.at
        self.samples.append(sample)
        while len(self.samples) > 2 and self.samples[1].at <= sample.at - WINDOW_S:
            self.samples.popleft()

    def catch_up(self, *, paused: bool) -> CatchUp:
        """Over the samples in the window, of which there is at least one."""
        return catch_up(self.samples[0], self.samples[-1], paused=paused)

    @property
    def standing_s(self) -> float:
        """Seconds for which it has been behind without moving."""
        return self.samples[-1].at - self.moved_at if self.samples else 0.0
