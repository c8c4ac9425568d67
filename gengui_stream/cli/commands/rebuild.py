"""`rebuild`: computes the read models from the log again and swaps them in."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

import typer
from rich.progress import Progress, TaskID

from gengui_stream.cli.operator import order_of
from gengui_stream.cli.options import AsJson, moment
from gengui_stream.cli.output import counted_progress, echo, echo_json, echo_progress, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.collection import collect_seldom
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.recovery.audit import Order
from gengui_stream.recovery.rebuild.outcome import Outcome, Request
from gengui_stream.recovery.rebuild.rebuild import discard, roll_back
from gengui_stream.recovery.rebuild.rebuild import rebuild as rebuild_tables
from gengui_stream.recovery.rebuild.shadow.run_state import RunState
from gengui_stream.recovery.rebuild.shadow.tables import ALL_TABLES, PROJECTIONS, is_all
from gengui_stream.recovery.rebuild.status import Status, rebuild_status
from gengui_stream.settings import Settings

STATUS: Final = "status"
PROGRESS_EVERY_S: Final = 10.0
BEHIND_THE_ROLES: Final = 10
"""The niceness: on a machine that they share, the roles come first."""


def _named(text: str) -> str:
    if text in PROJECTIONS or text == STATUS:
        return text
    raise typer.BadParameter(f"there is no projection {text!r}: use one of {', '.join(PROJECTIONS)}, or {STATUS}")


def _upto(text: str) -> Position | datetime:
    return moment(text, "--to")


def rebuild(
    projection: Annotated[
        str | None,
        typer.Argument(parser=_named, metavar="[PROJECTION|status]", help=f"One of {', '.join(PROJECTIONS)}."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every projection.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and compare, but do not swap.")] = False,
    upto: Annotated[
        Position | None,
        typer.Option(
            "--to", parser=_upto, metavar="POSITION|TIME", help="Fold the log up to here only, and do not swap."
        ),
    ] = None,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Swap although rows differ; roll back although decisions are lost."),
    ] = False,
    max_rate: Annotated[
        float | None, typer.Option("--max-rate", min=1, help="Events a second; else as fast as it can.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that fold; else one for each core.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Swap back the tables of before the last rebuild.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--discard", help="Drop an unfinished rebuild, and what a rollback would need.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Compute projections from the log again, beside the running system, compare them with the live ones, and swap
    them in. Exit 1 when rows differ, and nothing is swapped. An interrupted rebuild goes on when it is run again.

    gengui-stream rebuild --all

    gengui-stream rebuild daily-counts --dry-run

    gengui-stream rebuild status
    """
    if sum((projection is not None, everything, rollback, drop)) != 1:
        raise typer.BadParameter("name one projection, or --all, or status, or use --rollback or --discard alone")
    builds = not (rollback or drop or projection == STATUS)
    given = {"--dry-run": dry_run, "--to": upto, "--max-rate": max_rate, "--processes": processes}
    if not builds:
        _refuse(given if rollback else {**given, "--accept-differences": accept_differences})
    if projection == STATUS:
        run_command(lambda settings: _status(settings, json))
    order = order_of("rebuild")
    if drop:
        run_command(lambda settings: _discard(settings, order, json))
    request = Request(
        order=order,
        tables=ALL_TABLES if projection is None else PROJECTIONS[projection],
        upto=upto,
        dry_run=dry_run,
        accept_differences=accept_differences,
        max_rate=max_rate,
        processes=processes,
    )

    async def work(settings: Settings) -> ExitCode:
        began = time.monotonic()
        collect_seldom()
        os.nice(BEHIND_THE_ROLES)  # of its processes too
        with _watching() as watch:
            done = await (
                roll_back(settings, order, watch, forget_decisions=accept_differences)
                if rollback
                else rebuild_tables(settings, request, watch)
            )
        seconds = time.monotonic() - began
        echo_json(_document(done, seconds)) if json else _echo(done, seconds)
        return ExitCode.FINDING if done.differs and done.swapped is None else ExitCode.OK

    run_command(work)


def _refuse(options: Mapping[str, object]) -> None:
    """Raises BadParameter for options that have no effect here, so that none is ignored in silence."""
    if wrong := [name for name, value in options.items() if value]:
        raise typer.BadParameter(f"{wrong[0]} has no meaning here")


class _Watch:
    """A bar with rate and remaining time on a terminal, and a line from time to time elsewhere."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task
        self._said_at = self._began = time.monotonic()

    def step(self, text: str) -> None:
        self._shown.update(self._task, description=text[:60])
        self._say(text)

    def events(self, done: int, total: int) -> None:
        now = time.monotonic()
        rate = done / (now - self._began)
        self._shown.update(self._task, completed=done, total=total, description=f"folding, {rate:,.0f} events/s")
        if now - self._said_at >= PROGRESS_EVERY_S:
            self._said_at = now
            self._say(f"{done:,} of {total:,} events, {rate:,.0f}/s, {(total - done) / max(rate, 1):,.0f} s left")

    def _say(self, text: str) -> None:
        if self._shown.disable:
            echo_progress(text)


@contextmanager
def _watching() -> Iterator[_Watch]:
    with counted_progress() as shown:
        yield _Watch(shown, shown.add_task("rebuilding", total=None))


def _document(done: Outcome, seconds: float) -> dict[str, object]:
    return asdict(done) | {"seconds": round(seconds, 3), "differs": done.differs}


def _echo(done: Outcome, seconds: float) -> None:
    if done.compared:
        rows = [
            (each.table, each.live_rows, each.rebuilt_rows, "yes" if each.agrees else "NO") for each in done.compared
        ]
        echo_table(("table", "live rows", "rebuilt rows", "equal"), rows)
    for each in done.compared:
        for key in each.samples:
            echo(f"{each.table}  {key}  differs")
    for generation_id in done.unlike_plain_fold:
        echo(f"{generation_id}  differs from a plain fold")
    rate = done.events / done.fold_s if done.fold_s else 0.0
    echo(f"{done.events:,} events folded in {done.fold_s:.1f} s ({rate:,.0f}/s), {seconds:.1f} s in all")
    if done.swapped is None:
        echo(f"not swapped: {done.because}")
    else:
        echo(f"swapped: agents and readers waited {done.swapped.locked_ms:.0f} ms; `rebuild --rollback` swaps back")


async def _discard(settings: Settings, order: Order, json: bool) -> None:
    dropped = await discard(settings, order)
    echo_json({"dropped": dropped}) if json else echo(f"dropped: {', '.join(dropped) or 'none'}")


async def _status(settings: Settings, json: bool) -> None:
    async with opened_pool(settings, size=1) as pool:
        status = await rebuild_status(settings, pool)
    echo_json(asdict(status) | {"share": round(status.share, 4)}) if json else _echo_status(status)


def _echo_status(status: Status) -> None:
    found = (("current", status.current, status.current_bytes), ("before", status.retired, status.retired_bytes))
    rows = [_row(name, state, size) for name, state, size in found if state is not None]
    echo_table(("rebuild", "phase", "tables", "since", "MiB"), rows)
    if status.current is not None:
        running = "running" if status.running else "not running: `gengui-stream rebuild` goes on with it"
        echo(f"{sum(status.folded.values()):,} events folded, {status.share:.1%} of the log; {running}")


def _row(name: str, state: RunState, size: int) -> tuple[object, ...]:
    tables = "all" if is_all(state.tables) else ", ".join(state.tables)
    return name, str(state.phase), tables, shown_time(state.updated_at), size // (1024 * 1024)
