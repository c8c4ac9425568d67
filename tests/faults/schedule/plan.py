"""The schedule: pure, the same for the same seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

FaultKind: TypeAlias = Literal["kill", "pause", "long pause"]

MACHINE: Final = "every process"
"""A target of its own: all roles and servers at once, as when a machine loses its power."""

SHORT_PAUSE_S: Final = (0.1, 3.0)
LONG_PAUSE_S: Final = (7.0, 12.0)
"""Longer than the sessions, leases and heartbeat time-outs of the system under test."""

GAP_MAX: Final = 4.0
"""The longest gap, as a multiple of the mean."""

DECKS_BY_MACHINE_KILL: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One kill or pause, `gap_s` after the one before."""

    number: int
    target: str
    kind: FaultKind
    pause_s: float
    gap_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target}" + (f" for {self.pause_s:.1f} s" if self.kind != "kill" else "")


def schedule(seed: int, count: int, *, roles: Sequence[str], servers: Sequence[str], every_s: float) -> Iterator[Fault]:
    """Faults from shuffled decks, so that each target gets its share of each kind however short the schedule is."""
    chance = random.Random(seed)
    for number, (target, kind) in enumerate(islice(_cards(chance, roles, servers), count), start=1):
        low, high = LONG_PAUSE_S if kind == "long pause" else SHORT_PAUSE_S
        pause_s = 0.0 if kind == "kill" else chance.uniform(low, high)
        gap_s = min(chance.expovariate(1 / every_s), GAP_MAX * every_s) if every_s else 0.0
        yield Fault(number, target, kind, round(pause_s, 2), round(gap_s, 2))


def _cards(chance: random.Random, roles: Sequence[str], servers: Sequence[str]) -> Iterator[tuple[str, FaultKind]]:
    decks = 0
    while True:
        decks += 1
        deck: list[tuple[str, FaultKind]] = [(role, "kill") for role in (*roles, *roles)]
        deck += [(role, kind) for role in roles for kind in ("pause", "long pause") if chance.random() < 0.6]
        deck += [(server, kind) for server in servers for kind in ("kill", "pause")]
        deck += [(chance.choice(servers), "long pause")]
        if decks % DECKS_BY_MACHINE_KILL == 0:
            deck.append((MACHINE, "kill"))
        chance.shuffle(deck)
        yield from deck
