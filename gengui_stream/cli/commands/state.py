"""`lag`, `verify` and `jobs`: the state of the projections and of the jobs."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import counted_progress, echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.jobs.queue import open_jobs
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.recovery.lag import PartitionLag, measure_lag
from gengui_stream.recovery.verification.report import Report
from gengui_stream.recovery.verify import verify as compare_everything
from gengui_stream.settings import Settings


def lag(
    most: Annotated[
        int | None, typer.Option("--max", min=0, help="Exit 1 when more events than this are not projected.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show how far the projections of each partition are behind the log.

    gengui-stream lag --max 1000
    """

    async def work(settings: Settings) -> ExitCode:
        async with opened_pool(settings, size=1) as pool:
            lags = await measure_lag(settings, pool)
        echo_json(_lag_document(lags)) if json else _echo_lag(lags)
        over = most is not None and sum(one.events for one in lags) > most
        return ExitCode.FINDING if over else ExitCode.OK

    run_command(work)


def _lag_document(lags: list[PartitionLag]) -> dict[str, object]:
    return {
        "events": sum(one.events for one in lags),
        "seconds": max((one.seconds for one in lags), default=0.0),
        "partitions": [asdict(one) for one in lags],
    }


def _echo_lag(lags: list[PartitionLag]) -> None:
    rows = [(one.partition, one.end, one.next_offset, one.events, one.seconds) for one in lags]
    echo_table(("partition", "end of log", "next offset", "events behind", "seconds behind"), rows)


def verify(json: AsJson = False) -> None:
    """Fold the whole log again and compare every row. Exit 1 and print the differences if there are any.

    gengui-stream verify --json
    """

    async def work(settings: Settings) -> ExitCode:
        began = time.monotonic()
        with counted_progress() as shown:
            task = shown.add_task("verifying", total=None)
            report = await compare_everything(
                settings, lambda done, total: shown.update(task, completed=done, total=total)
            )
        seconds = time.monotonic() - began
        echo_json(report.as_json() | {"seconds": round(seconds, 3)}) if json else _echo_report(report, seconds)
        return ExitCode.OK if report.agrees else ExitCode.FINDING

    run_command(work)


def _echo_report(report: Report, seconds: float) -> None:
    rows = [
        (p.partition, p.start_offset, p.next_offset, p.applied, p.ignored, p.dead_lettered) for p in report.partitions
    ]
    echo_table(("partition", "start", "next offset", "applied", "ignored", "dead-lettered"), rows)
    if report.pruned:
        echo(f"{report.pruned:,} rows of the timeline were removed by retention, and not compared")
    rate = f"{report.events:,} events, {report.rows.total():,} rows in {seconds:.1f} s"
    if report.agrees:
        echo(f"agreed: {rate}")
        return
    for difference in report.samples:
        echo(f"{difference.table}  {difference.key}  {difference.what}")
    counts = ", ".join(f"{table} {count}" for table, count in report.counts.most_common())
    echo(f"DISAGREED: {report.counts.total()} differences ({counts}): {rate}")


def jobs(json: AsJson = False) -> None:
    """Count the open jobs by kind.

    gengui-stream jobs --json
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            counts = await open_jobs(pool)
        echo_json(counts) if json else echo_table(("kind", "open"), sorted(counts.items()))

    run_command(work)
