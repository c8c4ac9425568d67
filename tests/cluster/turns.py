"""What is killed and paused in turn: one process of each role, and the broker of each duty. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gengui_stream.roles import ROLES
from tests.cluster.brokers import DUTIES, Duty
from tests.faults.schedule.plan import FaultKind

BESIDES: Final = {
    "api-2": "api",
    "agents-2": "agents",
    "agents-3": "agents",
    "dispatch-2": "dispatch",
    "thumbnails-2": "thumbnails",
    "worker-redis": "worker",
    "worker-http": "worker",
}
"""With the first process of each role: two of `api`, `dispatch` and `thumbnails`, three of `agents` and `worker`."""

ROLE_PAUSE_S: Final = 9.0
"""Longer than the sessions and leases of the system under test."""

BROKER_PAUSE_S: Final = 15.0
"""Longer than the broker's session, and than the time-outs of its clients."""


@dataclass(frozen=True, slots=True)
class Turn:
    """`subject`: a role, or a duty of a broker. `process`: which of the role's, by its place."""

    subject: str
    kind: FaultKind
    pause_s: float = 0.0
    process: int = 0

    @property
    def of_broker(self) -> bool:
        return self.subject in DUTIES

    def __str__(self) -> str:
        return f"{self.kind} {f'the {self.subject}' if self.of_broker else self.subject}"


def processes_of(role: str) -> Sequence[str]:
    return [role, *(name for name, each in BESIDES.items() if each == role)]


def turns(seed: int) -> list[Turn]:
    """Every role and every duty, killed and paused once, in an order that follows from the seed."""
    chance = random.Random(seed)
    found = [turn for role in ROLES for turn in _of_role(role, chance)]
    found += [turn for duty in DUTIES for turn in _of_duty(duty)]
    chance.shuffle(found)
    return found


def short_turns(seed: int) -> list[Turn]:
    """The leader of a partition and an agents process, each killed and paused."""
    chance = random.Random(seed)
    found = [*_of_role("agents", chance), *_of_duty("leader")]
    chance.shuffle(found)
    return found


def _of_role(role: str, chance: random.Random) -> list[Turn]:
    number = len(processes_of(role))
    return [
        Turn(role, "kill", process=chance.randrange(number)),
        Turn(role, "long pause", ROLE_PAUSE_S, chance.randrange(number)),
    ]


def _of_duty(duty: Duty) -> list[Turn]:
    return [Turn(duty, "kill"), Turn(duty, "long pause", BROKER_PAUSE_S)]
