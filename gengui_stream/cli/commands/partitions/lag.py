"""`lag`: how far the projections are behind the log, and whether they catch up."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.projecting.progress.catch_up import CatchUp
from gengui_stream.recovery.lag import LagMeter, PartitionLag, opened_lag_meter
from gengui_stream.settings import Settings

Measured = Sequence[tuple[PartitionLag, CatchUp]]

COLUMNS = (
    *("partition", "end of log", "next offset", "events behind", "seconds behind", "oldest", "dead letters", "parked"),
    *("state", "events/s", "appended/s", "done in"),
)
CLEAR = "\x1b[H\x1b[2J"


def lag(
    most: Annotated[
        int | None, typer.Option("--max", min=0, help="Exit 1 when more events than this are not projected.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Measure again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two measurements.")] = 2.0,
    json: AsJson = False,
) -> None:
    """Show how far the projections of each partition are behind the log, what holds them up, and when they will have
    caught up. A lag is measured for a second; --watch prints one JSON document a line with --json.

    gengui-stream lag --max 1000

    gengui-stream lag --watch
    """

    async def work(settings: Settings) -> ExitCode:
        async with opened_pool(settings, size=1) as pool, opened_lag_meter(settings, pool) as meter:
            if watch:
                await _watch(meter, every, json)
            first, last = await meter.measure_twice()
        _echo(_compared(first, last), json)
        over = most is not None and sum(one.events for one in last) > most
        return ExitCode.FINDING if over else ExitCode.OK

    run_command(work)


async def _watch(meter: LagMeter, every_s: float, json: bool) -> None:
    before = await meter.measure()
    while True:
        await asyncio.sleep(every_s)
        after = await meter.measure()
        if sys.stdout.isatty() and not json:
            sys.stdout.write(CLEAR)
        _echo(_compared(before, after), json)
        before = after


def _compared(first: Iterable[PartitionLag], last: Iterable[PartitionLag]) -> Measured:
    return [(after, after.since(before)) for before, after in zip(first, last, strict=True)]


def _echo(measured: Measured, json: bool) -> None:
    if json:
        echo_json(_document(measured))
        return
    echo_table(COLUMNS, [_row(lag, progress) for lag, progress in measured])
    for lag, _ in measured:
        if lag.pause is not None:
            since = shown_time(lag.pause.paused_at)
            echo(f"partition {lag.partition} is paused since {since} by {lag.pause.operator}: {lag.pause.reason}")


def _row(lag: PartitionLag, progress: CatchUp) -> tuple[object, ...]:
    oldest = None if lag.oldest is None else shown_time(lag.oldest)
    parked = f"{lag.held.parked} of {lag.held.generations} generations" if lag.held.generations else None
    eta = None if progress.eta_s is None or not lag.events else f"{progress.eta_s:g} s"
    begin = (lag.partition, lag.end, lag.next_offset, lag.events, lag.seconds, oldest, lag.held.dead, parked)
    return (*begin, progress.trend.replace("_", " "), progress.rate, progress.append_rate, eta)


def _document(measured: Measured) -> dict[str, object]:
    return {
        "events": sum(lag.events for lag, _ in measured),
        "seconds": max((lag.seconds for lag, _ in measured), default=0.0),
        "partitions": [_partition(lag, progress) for lag, progress in measured],
    }


def _partition(lag: PartitionLag, progress: CatchUp) -> dict[str, object]:
    known = {name: value for name, value in asdict(lag).items() if name not in {"held", "measured_at"}}
    held = {"dead_letters": lag.held.dead, "parked": lag.held.parked, "parked_generations": lag.held.generations}
    return known | held | asdict(progress)
