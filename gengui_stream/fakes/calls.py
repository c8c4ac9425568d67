"""What a server was asked, and which generations had more than one run at once: what tests assert on."""

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
    """One request. `at` and `ended_at` are seconds on the monotonic clock; `status` None: nothing was answered (yet).

    `rule` is the place of the rule that was chosen, `did` its behaviour; both are None for the usual answer."""

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
    """Something that runs for a generation, until it is ended; again is harmless."""

    def __init__(self, now: Counter[str], generation: str) -> None:
        self._now, self._generation, self._over = now, generation, False

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._now[self._generation] -= 1


class Runs:
    """Counts what runs for each generation. Given to several servers, it sees the runs on all of them."""

    def __init__(self) -> None:
        self._now = Counter[str]()
        self._most = Counter[str]()

    def begin(self, generation: str) -> Run:
        self._now[generation] += 1
        self._most[generation] = max(self._most[generation], self._now[generation])
        return Run(self._now, generation)

    @property
    def now(self) -> Mapping[str, int]:
        """How many run, by generation."""
        return +self._now

    @property
    def overlaps(self) -> Mapping[str, int]:
        """The most that ever ran at once, for each generation that had more than one."""
        return {generation: most for generation, most in self._most.items() if most > 1}


def recordable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """By their names in lower case."""
    return {name.lower(): value for name, value in headers.items() if name.lower() not in SECRET}


def recordable(body: object) -> object:
    """A request's body without credentials, long texts (images) shortened to their length."""
    match body:
        case dict():
            return {str(name): recordable(value) for name, value in body.items() if str(name).lower() not in SECRET}
        case list():
            return [recordable(value) for value in body]
        case str() if len(body) > TEXT_MAX:
            return f"<{len(body)} characters>"
        case _:
            return body
