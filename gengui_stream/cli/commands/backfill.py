"""`backfill-thumbnails`: requests thumbnails of completed generations that have none, or of all."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_error, echo_json
from gengui_stream.cli.runner import run_command
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.recovery.backfill import FIRST, Backfill, Scope, count_generations, request_thumbnails
from gengui_stream.settings import Settings


def backfill_thumbnails(
    everything: Annotated[
        bool, typer.Option("--all/--missing", help="Also generations that have a thumbnail, or only those without one.")
    ] = False,
    rate: Annotated[
        float,
        typer.Option(min=0.1, max=10_000, help="Requests per second; thumbnails of new generations queue behind them."),
    ] = 50.0,
    after: Annotated[
        UUID | None,
        typer.Option(
            metavar="GENERATION-ID", help="Only generations after this one, to continue a backfill that stopped."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    json: AsJson = False,
) -> None:
    """Request thumbnails of completed generations. Safe to repeat and to interrupt; the `thumbnails` role makes them.

    gengui-stream backfill-thumbnails --dry-run

    gengui-stream backfill-thumbnails --all --rate 20
    """

    scope, echo_result = Scope(everything=everything, after=after or FIRST), _echo_json if json else _echo

    async def work(settings: Settings) -> None:
        await check_topic(settings)
        done, finished = Backfill(), False
        try:
            async with opened_pool(settings, size=1) as pool, _opened_log(settings, dry_run) as log:
                with _progress() as shown:
                    task = shown.add_task("generations", total=await count_generations(pool, scope), requested=0)
                    async for done in request_thumbnails(pool, log, scope, rate):
                        shown.update(task, completed=done.generations, requested=done.requested)
            finished = True
        finally:
            if finished or done.last is not None:
                echo_result(done, dry_run, finished)

    run_command(work)


@asynccontextmanager
async def _opened_log(settings: Settings, dry_run: bool) -> AsyncIterator[EventLog | None]:
    if dry_run:
        yield None
        return
    async with EventLog(settings) as log:
        yield log


def _progress() -> Progress:
    console = Console(file=sys.stderr)
    requested = TextColumn("{task.fields[requested]} thumbnails requested")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), requested, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _echo(done: Backfill, dry_run: bool, finished: bool) -> None:
    verb = "would be requested" if dry_run else "requested"
    echo(f"{done.generations} generations: {done.requested} thumbnails {verb}, {done.pending} being made already")
    if not finished:
        echo_error(f"not finished; to continue where it stopped: --after {done.last}")


def _echo_json(done: Backfill, dry_run: bool, finished: bool) -> None:
    echo_json(asdict(done) | {"dry_run": dry_run, "finished": finished})
