"""`verify`, `jobs`, `costs` and `audit`: the state of projections and jobs, what was used, what operators did."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated

import orjson
import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import counted_progress, echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.jobs.queue import open_jobs
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.queries.costs import Cost, report_of, usage
from gengui_stream.queries.costs import costs as costs_of
from gengui_stream.recovery.audit import Act, acts
from gengui_stream.recovery.verification.report import Report
from gengui_stream.recovery.verify import verify as compare_everything
from gengui_stream.settings import Settings

SinceDay = Annotated[str | None, typer.Option(help="The first day (UTC), such as 2026-11-01.")]
UntilDay = Annotated[str | None, typer.Option(help="The last day (UTC).")]


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


def costs(since: SinceDay = None, until: UntilDay = None, json: AsJson = False) -> None:
    """Sum up runs, seconds and images by provider and model, and their cost by PRICES.

    gengui-stream costs --since 2026-11-01 --until 2026-11-30
    """
    first, last = _day(since, "--since"), _day(until, "--until")

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            found = costs_of(await usage(pool, first, last), settings.price_list)
        echo_json(report_of(found).model_dump(mode="json")) if json else _echo(found)

    run_command(work)


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r:.80} is not a day such as 2026-11-01", param_hint=option) from None


def _echo(found: Sequence[Cost]) -> None:
    columns = ("provider", "model", "runs", "seconds", "images", "cost")
    rows = [(c.provider, c.model, c.runs, f"{c.run_seconds:,.0f}", c.images, _amount(c)) for c in found]
    echo_table(columns, rows)
    if unpriced := sum(cost.unpriced_runs for cost in found):
        echo(f"PRICES has no price for {unpriced:,} of these runs")


def _amount(cost: Cost) -> str:
    return "" if cost.amount is None else f"{cost.amount:,.2f}"


def audit(
    action: Annotated[str | None, typer.Option(help="Only this command, such as pause.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    json: AsJson = False,
) -> None:
    """List what operators did, the latest first: pauses, skips, decisions on dead letters, repairs, rebuilds.

    gengui-stream audit --action skip
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            found = await acts(pool, action=action, limit=limit)
        if json:
            echo_json([asdict(act) for act in found])
        else:
            echo_table(("when", "who", "what", "about", "why", "result"), map(_act, found))

    run_command(work)


def _act(act: Act) -> tuple[object, ...]:
    result = orjson.dumps(act.result, default=str).decode()
    return (shown_time(act.acted_at), act.operator, act.action, act.subject, act.reason, result)
