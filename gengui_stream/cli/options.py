"""Options that several commands share."""

import re
from typing import Annotated, Final, TypeAlias

import typer

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

EMAIL: Final = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
EMAIL_MAX: Final = 254


def email(text: str) -> str:
    """An e-mail address, as far as its form tells. Raises BadParameter for any other text."""
    if len(text) > EMAIL_MAX or EMAIL.fullmatch(text) is None:
        raise typer.BadParameter("an e-mail address is name@host, such as you@example.com")
    return text
