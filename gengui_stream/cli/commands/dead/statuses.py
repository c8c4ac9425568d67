"""`dead-statuses`: Redis messages of existing workers that the bridge could not read."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Final, NoReturn, TypeAlias

import typer

from gengui_stream.bridge.dead_statuses import DeadStatus, DeadStatuses
from gengui_stream.bridge.messages import DEAD_STREAM
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_fields, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.errors import PermanentError
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import StoredStream
from gengui_stream.settings import Settings

app = typer.Typer(help="Redis messages of workers that the bridge could not read.", no_args_is_help=True)

ENTRY_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
ALL_MAX: Final = 100_000


def _entry_id(text: str) -> str:
    if not ENTRY_ID.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not an id, such as 1767225600000-0")
    return text


Maybe: TypeAlias = Annotated[str | None, typer.Argument(parser=_entry_id, metavar="[ID]")]
Reason: TypeAlias = Annotated[str | None, typer.Option("--reason", help="Only those of this reason.")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="All of them, or those of --reason.")]
Change: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a field of the message; repeatable.")
]
Resolve: TypeAlias = Callable[[DeadStatuses, DeadStatus], Awaitable[None]]


@app.command("list")
def list_statuses(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=ALL_MAX, help="Show at most this many.")] = 100,
    json: AsJson = False,
) -> None:
    """List dead statuses, the oldest first.

    gengui-stream dead-statuses list --reason no_s3_key
    """

    async def work(settings: Settings) -> None:
        async with _opened(settings) as statuses:
            found = await statuses.listed(limit, reason)
        if json:
            echo_json([_document(status) for status in found])
        else:
            echo_table(("id", "generation", "status", "reason", "dead since", "detail"), map(_row, found))

    run_command(work)


@app.command()
def show(entry_id: Annotated[str, typer.Argument(parser=_entry_id, metavar="ID")], json: AsJson = False) -> None:
    """Show one dead status with the fields of its message.

    gengui-stream dead-statuses show 1767225600000-0
    """

    async def work(settings: Settings) -> None:
        async with _opened(settings) as statuses:
            document = _document(await _found(statuses, entry_id))
        echo_json(document) if json else echo_fields(document)

    run_command(work)


@app.command()
def retry(
    entry_id: Maybe = None,
    every: All = False,
    reason: Reason = None,
    change: Change = None,
    json: AsJson = False,
) -> None:
    """Deliver a message to the bridge again. It returns to the list if the bridge still cannot read it.

    gengui-stream dead-statuses retry 1767225600000-0 --set s3Key=users/u/media/a.png
    """
    changes = _changes(change or ())

    async def again(statuses: DeadStatuses, status: DeadStatus) -> None:
        await statuses.retry(status, changes)

    _resolve(again, "retried", entry_id, every=every, reason=reason, json=json)


@app.command()
def discard(entry_id: Maybe = None, every: All = False, reason: Reason = None, json: AsJson = False) -> None:
    """Delete a dead status. --all needs a --reason.

    gengui-stream dead-statuses discard 1767225600000-0
    """
    if every and reason is None:
        raise typer.BadParameter("--all needs a --reason, such as bad_media_id")
    _resolve(DeadStatuses.discard, "discarded", entry_id, every=every, reason=reason, json=json)


def _changes(given: "list[str] | tuple[str, ...]") -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise typer.BadParameter(f"--set takes NAME=VALUE, not {wrong[0]!r}")
    return {name: value for name, _, value in pairs}


def _resolve(
    resolve: Resolve, done: str, entry_id: str | None, *, every: bool, reason: str | None, json: bool
) -> NoReturn:
    if (entry_id is None) is not every:
        raise typer.BadParameter("either an id, such as 1767225600000-0, or --all is needed")
    if reason is not None and not every:
        raise typer.BadParameter("--reason needs --all")

    async def work(settings: Settings) -> ExitCode:
        async with _opened(settings) as statuses:
            chosen = await statuses.listed(ALL_MAX, reason) if entry_id is None else [await _found(statuses, entry_id)]
            for status in chosen:
                await resolve(statuses, status)
        ids = [status.id for status in chosen]
        echo_json({done: ids}) if json else echo(f"{done} {len(ids)}")
        return ExitCode.OK

    run_command(work)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[DeadStatuses]:
    async with opened_redis(settings) as redis:
        yield DeadStatuses(StoredStream(redis, DEAD_STREAM))


async def _found(statuses: DeadStatuses, entry_id: str) -> DeadStatus:
    found = await statuses.find(entry_id)
    if found is None:
        raise PermanentError(f"there is no dead status {entry_id}: see `gengui-stream dead-statuses list`")
    return found


def _row(status: DeadStatus) -> tuple[object, ...]:
    message = status.message
    named = (message.get("mediaId"), message.get("status"))
    return (status.id, *named, status.reason, status.dead_at, status.detail)


def _document(status: DeadStatus) -> dict[str, object]:
    """Bytes that are not UTF-8 are shown as escapes."""
    message = {_text(name): _text(value) for name, value in status.message.items()}
    return {**asdict(status), "detail": _text(status.detail), "message": message}


def _text(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
