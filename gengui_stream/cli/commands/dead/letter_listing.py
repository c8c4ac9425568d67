"""`dead-letters list`, `show` and `export`."""

import base64
from dataclasses import asdict, replace
from typing import Annotated, TypeAlias

import typer

from gengui_stream.cli.commands.dead.filter_options import (
    FirstOffset,
    Generation,
    LastOffset,
    Owner,
    Partition,
    Reason,
    Since,
    Type,
    Until,
    letter_filter,
)
from gengui_stream.cli.options import AsJson, position
from gengui_stream.cli.output import echo_fields, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.recovery.dead_letters.filters import listed, matching, type_of
from gengui_stream.recovery.dead_letters.letters import DeadLetter, find
from gengui_stream.settings import Settings

Resolved: TypeAlias = Annotated[bool, typer.Option("--all", help="Also resolved ones.")]
Parked: TypeAlias = Annotated[bool, typer.Option("--parked", help="Also events that are parked behind another.")]


def list_letters(
    *,
    resolved: Resolved = False,
    parked: Parked = False,
    reason: Reason = None,
    generation: Generation = None,
    owner: Owner = None,
    type_: Type = None,
    partition: Partition = None,
    first_offset: FirstOffset = None,
    last_offset: LastOffset = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most this many.")] = 100,
    json: AsJson = False,
) -> None:
    """List dead letters in the order of the log.

    gengui-stream dead-letters list --parked --type generation.failed
    """
    chosen = letter_filter(
        reason=reason,
        generation=generation,
        owner=owner,
        type_=type_,
        partition=partition,
        first_offset=first_offset,
        last_offset=last_offset,
        since=since,
        until=until,
    )
    wanted = replace(chosen, resolved=resolved, parked=parked)

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            letters = await listed(pool, settings.events_topic, wanted, limit=limit)
        if json:
            echo_json([_document(letter) for letter in letters])
        else:
            columns = ("position", "generation", "type", "reason", "appended", "resolution", "detail")
            echo_table(columns, map(_row, letters))

    run_command(work)


def _row(letter: DeadLetter) -> tuple[object, ...]:
    detail = letter.detail if len(letter.detail) <= 100 else f"{letter.detail[:100]}…"
    return (
        letter.position,
        letter.generation_id,
        type_of(letter),
        letter.reason,
        letter.appended_at,
        letter.resolution or "open",
        detail,
    )


def _document(letter: DeadLetter) -> dict[str, object]:
    shown = {"key": _text(letter.key), "value": _text(letter.value), "type": type_of(letter)}
    return {"position": str(letter.position)} | asdict(letter) | shown


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def show(
    at: Annotated[Position, typer.Argument(parser=position, metavar="PARTITION:OFFSET")], json: AsJson = False
) -> None:
    """Show one dead letter with its record.

    gengui-stream dead-letters show 2:1041 --json
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            document = _document(await find(pool, settings.events_topic, at))
        echo_json(document) if json else echo_fields(document)

    run_command(work)


def export(
    *,
    resolved: Resolved = False,
    parked: Parked = False,
    reason: Reason = None,
    generation: Generation = None,
    owner: Owner = None,
    type_: Type = None,
    partition: Partition = None,
    first_offset: FirstOffset = None,
    last_offset: LastOffset = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Print all dead letters with their records, one JSON document a line. Keys and values are also there as base64,
    byte by byte.

    gengui-stream dead-letters export --reason not_json
    """
    chosen = letter_filter(
        reason=reason,
        generation=generation,
        owner=owner,
        type_=type_,
        partition=partition,
        first_offset=first_offset,
        last_offset=last_offset,
        since=since,
        until=until,
    )
    wanted = replace(chosen, resolved=resolved, parked=parked)

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            async for letter in matching(pool, settings.events_topic, wanted):
                raw = {"key_base64": _base64(letter.key), "value_base64": _base64(letter.value)}
                echo_json(_document(letter) | raw)

    run_command(work)


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()
