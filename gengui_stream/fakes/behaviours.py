"""Behaviours for requests of any provider. The providers' own behaviours are in their `script` modules."""

from collections.abc import Set
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]

ALL: Final[Set[str]] = frozenset()


class Part(BaseModel):
    """A part of a script. An unknown field is an error, since a misspelt one would have no effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Behaviour(Part):
    """One way to handle a request. `seconds` pass before the response."""

    fits: ClassVar[Set[str]] = ALL
    """The operations it applies to; empty: all."""

    do: str
    seconds: Seconds = 0


class Error(Behaviour):
    """An error in the format of the provider. `word` and `reason` are Google's status and ErrorInfo.reason;
    `retry_after` becomes the header (a number, or an HTTP date as it is), `retry_delay` Google's RetryInfo. `body`
    replaces all but the status and the header."""

    do: Literal["error"] = "error"
    status: Annotated[int, Field(ge=400, le=599)] = 500
    message: str = "something went wrong"
    word: str | None = None
    reason: str | None = None
    retry_after: Seconds | str | None = None
    retry_delay: Seconds | None = None
    as_list: bool = False
    body: str | None = None


class Hang(Behaviour):
    """Never responds. The connection stays open until the client closes it."""

    do: Literal["hang"] = "hang"


class HalfBody(Behaviour):
    """Sends half of the normal response under its full Content-Length, then closes the connection."""

    do: Literal["half_body"] = "half_body"


class Reset(Behaviour):
    """Resets the connection without a response: before the work, or after it (`accepted`)."""

    do: Literal["reset"] = "reset"
    accepted: bool = False


class Html(Behaviour):
    """An HTML page, as proxies and maintenance modes send it: with 200 or any other status."""

    do: Literal["html"] = "html"
    status: Annotated[int, Field(ge=200, le=599)] = 200
    title: str = "Be right back"


ConnectionFault = Hang | HalfBody | Reset | Html
