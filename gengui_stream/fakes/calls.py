"""The requests of a server, and the generations with concurrent runs: what tests assert on."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

TEXT_MAX: Final = 2_000

SECRET: Final = frozenset({"s3config", "authorization", "x-goog-api-key", "cookie"})
"""Headers and fields that are never recorded."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request. `at` and `ended_at`: seconds of the monotonic clock. `status` None: no response (yet).

    `rule`: the index of the rule that matched; `did`: its behaviour; both are None for the normal response."""

    number: int
    operation: str
    generation: str
    prompt: str
    attempt: int | None
    job: str | None
    nth: int
    nth_of_generation: int
    rule: int | None
    did: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    status: int | None = None
    at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None


class Run:
    """A run for a generation. `end` may be repeated."""

    def __init__(self, running: Counter[str], generation: str) -> None:
        self._running, self._generation, self._ended = running, generation, False

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._running[self._generation] -= 1


class Runs:
    """Counts the runs of each generation; of several servers, if they share it."""

    def __init__(self) -> None:
        self._running = Counter[str]()
        self._most = Counter[str]()

    def begin(self, generation: str) -> Run:
        self._running[generation] += 1
        self._most[generation] = max(self._most[generation], self._running[generation])
        return Run(self._running, generation)

    @property
    def now(self) -> Mapping[str, int]:
        """The current number of runs by generation."""
        return +self._running

    @property
    def overlaps(self) -> Mapping[str, int]:
        """The maximum of concurrent runs, for each generation with more than one."""
        return {generation: most for generation, most in self._most.items() if most > 1}


def recordable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """By lower-case name, without credentials."""
    return {name.lower(): value for name, value in headers.items() if name.lower() not in SECRET}


def recordable(body: object) -> object:
    """A request's body without credentials; long strings (images) are replaced by their length."""
    match body:
        case dict():
            return {str(name): recordable(value) for name, value in body.items() if str(name).lower() not in SECRET}
        case list():
            return [recordable(value) for value in body]
        case str() if len(body) > TEXT_MAX:
            return f"<{len(body)} characters>"
        case _:
            return body
