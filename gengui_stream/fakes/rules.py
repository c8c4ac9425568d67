"""Matches requests to the rules of a script. The same seed gives the same matches in any order of the requests."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from gengui_stream.fakes.scripts import Did, Script, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What rules can match. `generation`: what distinguishes generations, an id if the request has one."""

    operation: str
    generation: str
    prompt: str = ""
    attempt: int | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True)
class NumberedRequest:
    """A request and its ordinals, from one: of its operation, and of its operation for its generation."""

    request: Request
    nth: int
    nth_of_generation: int


@dataclass(frozen=True)
class Choice(Generic[Did]):
    """`rule`: its index in the script; None when no rule matched, for the normal response."""

    rule: int | None
    behaviour: Did | None


def choose(script: Script[Did], seed: int, numbered: NumberedRequest, used: Mapping[int, int]) -> Choice[Did]:
    """The first rule that matches and is below its `times`. `used`: how often each rule was chosen."""
    for number, rule in enumerate(script.rules):
        available = rule.times is None or used.get(number, 0) < rule.times
        if available and script.operation_of(rule.when) == numbered.request.operation and _matches(rule.when, numbered):
            probability = rule.when.probability
            if probability is None or draw(seed, number, numbered) < probability:
                return Choice(number, rule.then)
    return Choice(None, None)


def draw(seed: int, rule: int, numbered: NumberedRequest) -> float:
    """In [0, 1). Independent of the generation's id, which differs in every run."""
    request = numbered.request
    key = f"{seed}\0{rule}\0{request.operation}\0{numbered.nth_of_generation}\0{request.prompt}"
    return (int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 11) / 2**53


def _matches(when: When, numbered: NumberedRequest) -> bool:
    request = numbered.request
    return (
        (when.nth is None or numbered.nth in when.nth)
        and (when.nth_of_generation is None or numbered.nth_of_generation in when.nth_of_generation)
        and (when.prompt is None or when.prompt.casefold() in request.prompt.casefold())
        and (when.generation is None or when.generation == request.generation)
        and (when.attempt is None or when.attempt == request.attempt)
        and (when.job is None or when.job == request.job)
    )


class Chooser(Generic[Did]):
    """Counts requests and used rules since the script was started."""

    def __init__(self, script: Script[Did], seed: int) -> None:
        self._script, self._seed = script, seed
        self._requests = Counter[str]()
        self._requests_of_generation = Counter[tuple[str, str]]()
        self._used = Counter[int]()

    def next(self, request: Request) -> tuple[NumberedRequest, Choice[Did]]:
        self._requests[request.operation] += 1
        of_generation = (request.operation, request.generation)
        self._requests_of_generation[of_generation] += 1
        numbered = NumberedRequest(
            request, self._requests[request.operation], self._requests_of_generation[of_generation]
        )
        choice = choose(self._script, self._seed, numbered, self._used)
        if choice.rule is not None:
            self._used[choice.rule] += 1
        return numbered, choice
