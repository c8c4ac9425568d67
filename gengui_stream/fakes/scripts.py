"""Scripts: ordered rules, of which the first match decides how a request is handled. Parsed strictly."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, Generic, Self, TypeVar

import orjson
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gengui_stream.errors import PermanentError
from gengui_stream.fakes.behaviours import Behaviour, Part
from gengui_stream.fault_sentences import placed

Did = TypeVar("Did", bound=Behaviour)
Played = TypeVar("Played", bound=Part)

FAULTS_SHOWN: Final = 10
OLDER_NAMES: Final = {"hell": "chaos"}
"""Former names of ready scripts, which still work."""


def _listed(value: object) -> object:
    if value == []:
        raise ValueError("an empty list would match nothing")
    return [value] if isinstance(value, int) else value


Numbers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed)]
"""Ordinals from one; a single one may be written without a list."""


class ScriptError(PermanentError):
    """The script is invalid: all faults, one per line."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


def by_name(ready: Callable[[], Mapping[str, Behaviour]]) -> BeforeValidator:
    """Accepts the name of a ready behaviour in place of a behaviour."""

    def found(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value not in ready():
            raise ValueError(f"no behaviour is called {value!r}; there are {', '.join(ready())}")
        return ready()[value]

    return BeforeValidator(found)


class When(Part):
    """The conditions of a rule, all of which a request must meet.

    `operation`: default the first operation of the script. `nth`: among the requests of that operation since the script
    was started. `nth_of_generation`: among those of the same generation, so 2 is a second attempt, or a second poll.
    `prompt`: a substring of the request's prompt, case-insensitive. `probability`: drawn for each request from the
    seed, the prompt and `nth_of_generation`, so that order and speed of the requests change nothing."""

    operation: str | None = None
    nth: Numbers | None = None
    nth_of_generation: Numbers | None = None
    prompt: Annotated[str, Field(min_length=1)] | None = None
    generation: str | None = None
    attempt: Annotated[int, Field(ge=1)] | None = None
    job: str | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None


class Rule(Part, Generic[Did]):
    """Applies `then` to requests that match `when`, at most `times` times."""

    when: When = When()
    times: Annotated[int, Field(ge=1)] | None = None
    then: Did


class Script(Part, Generic[Did]):
    """Requests that no rule matches get the normal response. `image_side_max`: pixels; larger images are scaled down,
    as drawing takes time. Up to 128 pixels, images are variations of a few."""

    operations: ClassVar[tuple[str, ...]] = ()

    rules: tuple[Rule[Did], ...] = ()
    image_side_max: Annotated[int, Field(ge=16, le=4_096)] = 4_096

    @model_validator(mode="after")
    def _check_operations(self) -> Self:
        faults = [fault for number, rule in enumerate(self.rules) for fault in self._faults(number, rule)]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _faults(self, number: int, rule: Rule[Did]) -> list[str]:
        operation, fits = self.operation_of(rule.when), rule.then.fits
        if operation not in self.operations:
            return [f"rules.{number}.when.operation: {operation!r} is none of {', '.join(self.operations)}"]
        if fits and operation not in fits:
            return [f"rules.{number}: {rule.then.do!r} can be done to {', '.join(sorted(fits))}, not to {operation!r}"]
        return []

    def operation_of(self, when: When) -> str:
        return when.operation or self.operations[0]


def read_script(kind: type[Played], ready: Mapping[str, Played], given: str) -> Played:
    """A ready script by its name, a script as JSON, or one from a file. Raises ScriptError."""
    name = OLDER_NAMES.get(given, given)
    if name in ready:
        return ready[name]
    if given.lstrip()[:1] == "{":
        return parse_script(kind, given.encode())
    try:
        return parse_script(kind, Path(given).read_bytes())
    except OSError as error:
        names = ", ".join(ready)
        raise ScriptError([f"{given!r} is no ready script ({names}), and no file: {error.strerror}"]) from None


def parse_script(kind: type[Played], text: bytes) -> Played:
    """A script from its JSON. Raises ScriptError, which names the location of each fault."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ScriptError([f"not JSON: {error}"]) from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise ScriptError(_faults(error)) from None


def _faults(error: ValidationError) -> list[str]:
    """A fault that all members of a union have is listed once."""
    found = Counter[str]()
    for location, message in placed(error):
        found.update([f"{location}: {message}" if location else message])
    faults = list(found)
    more = len(faults) - FAULTS_SHOWN
    return [*faults[:FAULTS_SHOWN], f"and {more} more"] if more > 0 else faults
