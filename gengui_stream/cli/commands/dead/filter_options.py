"""The options that select dead letters."""

from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from gengui_stream.cli.options import time
from gengui_stream.recovery.dead_letters.filters import LetterFilter

Reason: TypeAlias = Annotated[str | None, typer.Option("--reason", help="Only of this reason, such as not_json.")]
Generation: TypeAlias = Annotated[UUID | None, typer.Option("--generation", help="Only of this generation.")]
Owner: TypeAlias = Annotated[UUID | None, typer.Option("--owner", help="Only of this user's generations.")]
Type: TypeAlias = Annotated[str | None, typer.Option("--type", help="Only of this type, as the record names it.")]
Partition: TypeAlias = Annotated[int | None, typer.Option("--partition", min=0, help="Only of this partition.")]
FirstOffset: TypeAlias = Annotated[
    int | None, typer.Option("--first-offset", min=0, help="Only from this offset of the --partition on.")
]
LastOffset: TypeAlias = Annotated[
    int | None, typer.Option("--last-offset", min=0, help="Only up to this offset of the --partition.")
]
Since: TypeAlias = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only appended at this time (UTC) or later.")
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only appended before this time (UTC).")
]


def letter_filter(
    *,
    reason: str | None,
    generation: UUID | None,
    owner: UUID | None,
    type_: str | None,
    partition: int | None,
    first_offset: int | None,
    last_offset: int | None,
    since: str | None,
    until: str | None,
) -> LetterFilter:
    """Raises BadParameter for options that contradict each other."""
    if partition is None and (first_offset is not None or last_offset is not None):
        raise typer.BadParameter("--first-offset and --last-offset need a --partition")
    return LetterFilter(
        reason=reason,
        generation=generation,
        owner=owner,
        type=type_,
        partition=partition,
        first_offset=first_offset,
        last_offset=last_offset,
        since=_time(since, "--since"),
        until=_time(until, "--until"),
    )


def _time(text: str | None, option: str) -> datetime | None:
    return None if text is None else time(text, option)
