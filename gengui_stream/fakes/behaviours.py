"""What may be done to any request, whoever the provider is. The providers' own behaviours are in their scripts."""

from collections.abc import Set
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Waiting = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
"""Seconds."""

ALL: Final[Set[str]] = frozenset()


class Part(BaseModel):
    """A piece of a script: a field that is not known is a fault, since a misspelt one would do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Behaviour(Part):
    """One thing to do about a request. `seconds` pass before anything is answered."""

    fits: ClassVar[Set[str]] = ALL
    """The operations it can be done to; none named: to each."""

    do: str
    seconds: Waiting = 0


class Error(Behaviour):
    """An error as the provider words it. `word` and `reason` are Google's status and ErrorInfo.reason; `retry_after`
    becomes the header (a number, or an HTTP date as it is), `retry_delay` Google's RetryInfo. `body` replaces all but
    the status and the header."""

    do: Literal["error"] = "error"
    status: Annotated[int, Field(ge=400, le=599)] = 500
    message: str = "something went wrong"
    word: str | None = None
    reason: str | None = None
    retry_after: Waiting | str | None = None
    retry_delay: Waiting | None = None
    as_list: bool = False
    body: str | None = None


class Hang(Behaviour):
    """Never answers. The connection stays open until the client leaves."""

    do: Literal["hang"] = "hang"


class HalfBody(Behaviour):
    """The usual answer with its full Content-Length, half of it sent, then the end of the connection."""

    do: Literal["half_body"] = "half_body"


class Reset(Behaviour):
    """The connection is reset without an answer: before anything was done, or after all of it was (`accepted`)."""

    do: Literal["reset"] = "reset"
    accepted: bool = False


class Html(Behaviour):
    """A page for people, as proxies and maintenance modes send it: with 200 or any other status."""

    do: Literal["html"] = "html"
    status: Annotated[int, Field(ge=200, le=599)] = 200
    title: str = "Be right back"


Disturbance = Hang | HalfBody | Reset | Html
