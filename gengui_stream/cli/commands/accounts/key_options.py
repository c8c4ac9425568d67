"""The options of a new key, which several commands have."""

from datetime import datetime
from typing import Annotated, Final, TypeAlias

import typer

from gengui_stream.accounts.keys.api_keys import KeyChoice
from gengui_stream.accounts.principals import SCOPES
from gengui_stream.cli.options import future

NAME_MAX: Final = 100


def _name(text: str) -> str:
    if not text.isprintable() or len(text) > NAME_MAX:
        raise typer.BadParameter(f"at most {NAME_MAX} printable characters")
    return text


def _scope(text: str) -> str:
    if text not in SCOPES:
        raise typer.BadParameter(f"one of {', '.join(SCOPES)}")
    return text


Name: TypeAlias = Annotated[str, typer.Option("--name", parser=_name, metavar="NAME", help="What the key is for.")]
Scopes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        parser=_scope,
        metavar="SCOPE",
        help=f"{', '.join(SCOPES)}; may be repeated. Unset: all that the user's role allows.",
    ),
]
Expires: TypeAlias = Annotated[
    datetime | None,
    typer.Option("--expires", parser=future, metavar="WHEN", help="90d, 12h, 30m, or a time in UTC. Unset: never."),
]


def key_choice(name: str, scopes: list[str] | None, expires: datetime | None) -> KeyChoice:
    chosen = frozenset(scope for scope in SCOPES if scope in scopes) if scopes else None
    return KeyChoice(name, chosen, expires)
