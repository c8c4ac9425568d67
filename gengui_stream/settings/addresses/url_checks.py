"""Checks that all addresses share. Each raises ValueError with the expected form, and shows no secret."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl

PORT_FORM: Final = "its port must be a number up to 65535"


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65_536


def check_login(parts: SplitResult) -> None:
    """An unescaped character of a password ends the part of the URL that it is in."""
    if parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("write the characters @ / ? # % of a user or password as %40 %2F %3F %23 %25")


def parameters_of(parts: SplitResult) -> dict[str, str]:
    """By name in lower case; empty ones too."""
    return {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def check_files(given: Mapping[str, str], names: Iterable[str]) -> None:
    """The parameters with these names are paths of files."""
    if missing := [name for name in names if name in given and not Path(given[name]).is_file()]:
        raise ValueError("; ".join(f"there is no file {given[name]!r}, its {name}" for name in missing))
