"""Options that several commands share."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

import typer

from gengui_stream.log.positions import Position

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

EMAIL: Final = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
EMAIL_MAX: Final = 254


def email(text: str) -> str:
    """An e-mail address, as far as its form tells. Raises BadParameter for any other text."""
    if len(text) > EMAIL_MAX or EMAIL.fullmatch(text) is None:
        raise typer.BadParameter("an e-mail address is name@host, such as you@example.com")
    return text


_PERIOD: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def future(text: str) -> datetime:
    """A time to come: after a period such as 90d, 12h or 30m, or at a time. Raises BadParameter for any other text."""
    if found := _PERIOD.fullmatch(text):
        return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        at = time(text, "--expires")
    except typer.BadParameter:
        raise typer.BadParameter("a period such as 90d, 12h or 30m, or a time such as 2027-11-29T18:00:00Z") from None
    if at <= datetime.now(UTC):
        raise typer.BadParameter("the time is past")
    return at


def position(text: str) -> Position:
    """A position of the log. Raises BadParameter for any other text."""
    try:
        return Position.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def time(text: str, option: str) -> datetime:
    """A time in UTC, unless it names its zone. Raises BadParameter for any other text."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        form = "a time such as 2026-11-29T18:00:00Z"
        raise typer.BadParameter(f"{text[:80]!r} is not {form}", param_hint=option) from None


def moment(text: str, option: str) -> Position | datetime:
    """A position or a time. Raises BadParameter for any other text."""
    try:
        return Position.parse(text)
    except ValueError as error:
        try:
            return time(text, option)
        except typer.BadParameter as other:
            raise typer.BadParameter(f"{error}; and {other.message}", param_hint=option) from None
