"""`dead-letters retry` and `discard`: of one, or of all that a filter selects."""

from collections.abc import Awaitable
from itertools import islice
from typing import Annotated, Final, NoReturn, Protocol, TypeAlias

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
from gengui_stream.cli.operator import order_of
from gengui_stream.cli.options import AsJson, position
from gengui_stream.cli.output import counted_progress, echo, echo_json
from gengui_stream.cli.runner import run_command
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.recovery.audit import Order
from gengui_stream.recovery.dead_letters import letters
from gengui_stream.recovery.dead_letters.bulk import BulkOrder, BulkResolution, ResolveOn, resolve_all
from gengui_stream.recovery.dead_letters.filters import LetterFilter
from gengui_stream.recovery.dead_letters.letters import Resolution
from gengui_stream.settings import Settings


class Resolve(Protocol):
    def __call__(
        self, pool: Pool, topic: str, position: Position, timings: JobTimings, order: Order, *, dry_run: bool = False
    ) -> Awaitable[Resolution]: ...


MaybeAt: TypeAlias = Annotated[Position | None, typer.Argument(parser=position, metavar="[PARTITION:OFFSET]")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="All open ones, in the order of the log.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Try it, print the result, and change nothing.")]
Note: TypeAlias = Annotated[str, typer.Option("--note", help="Why; kept in the audit.")]

SHOWN_MAX: Final = 20
NO_FILTER: Final = LetterFilter()


def retry(
    at: MaybeAt = None,
    *,
    every: All = False,
    reason: Reason = None,
    generation: Generation = None,
    owner: Owner = None,
    type_: Type = None,
    partition: Partition = None,
    first_offset: FirstOffset = None,
    last_offset: LastOffset = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    note: Note = "",
    json: AsJson = False,
) -> None:
    """Fold the event again, and the events parked behind it. Exit 1 when it, or with --all any, cannot be folded.

    --all takes filters, which select among the open ones.

    gengui-stream dead-letters retry 2:1041
    """
    wanted = letter_filter(
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
    _check_arguments(at, wanted, every=every)
    order = order_of("dead-letters", note)
    if at is None:
        _resolve_all("dead-letters retry", letters.retry_on, wanted, order, dry_run=dry_run, json=json)
    _resolve(letters.retry, at, order, dry_run=dry_run, json=json)


def discard(
    at: MaybeAt = None,
    *,
    every: All = False,
    reason: Reason = None,
    generation: Generation = None,
    owner: Owner = None,
    type_: Type = None,
    partition: Partition = None,
    first_offset: FirstOffset = None,
    last_offset: LastOffset = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    note: Note = "",
    json: AsJson = False,
) -> None:
    """Skip the event for good, and fold the events parked behind it. The record stays in the log and in the list.

    --all needs a filter, such as a --reason.

    gengui-stream dead-letters discard 2:1041
    """
    wanted = letter_filter(
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
    _check_arguments(at, wanted, every=every)
    if at is None and wanted == NO_FILTER:
        raise typer.BadParameter("--all needs a filter, such as --reason not_json")
    order = order_of("dead-letters", note)
    if at is None:
        _resolve_all("dead-letters discard", letters.discard_on, wanted, order, dry_run=dry_run, json=json)
    _resolve(letters.discard, at, order, dry_run=dry_run, json=json)


def _check_arguments(at: Position | None, wanted: LetterFilter, *, every: bool) -> None:
    if (at is None) is not every:
        raise typer.BadParameter("either a position, such as 2:1041, or --all is needed")
    if wanted != NO_FILTER and not every:
        name = next(iter(wanted.conditions)).replace("_", "-")
        raise typer.BadParameter(f"--{name} needs --all")


def _resolve(resolve: Resolve, at: Position, order: Order, *, dry_run: bool, json: bool) -> NoReturn:
    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            done = await resolve(pool, settings.events_topic, at, job_timings(settings), order, dry_run=dry_run)
        _echo_resolution(done, dry_run=dry_run, json=json)

    run_command(work)


def _resolve_all(
    action: str, resolve: ResolveOn, wanted: LetterFilter, order: Order, *, dry_run: bool, json: bool
) -> NoReturn:
    async def work(settings: Settings) -> ExitCode:
        bulk = BulkOrder(action, resolve, wanted, job_timings(settings), order, dry_run)
        with counted_progress() as shown:
            task = shown.add_task("resolving", total=None)
            async with opened_pool(settings, size=2) as pool:
                done = await resolve_all(
                    pool,
                    settings.events_topic,
                    bulk,
                    lambda tried, total: shown.update(task, completed=tried, total=total),
                )
        _echo_all(done, dry_run=dry_run, json=json)
        return ExitCode.FINDING if done.stays else ExitCode.OK

    run_command(work)


def _echo_all(done: BulkResolution, *, dry_run: bool, json: bool) -> None:
    counts = {"applied": done.tally.applied, "ignored": done.tally.ignored, "dry_run": dry_run}
    if json:
        stays = [{"position": str(at), "because": because} for at, because in done.stays.items()]
        echo_json({"resolved": done.resolved, "folded": done.folded} | counts | {"stays": stays})
        return
    resolved = "would resolve" if dry_run else "resolved"
    counted = f"{done.tally.applied} applied, {done.tally.ignored} ignored"
    echo(f"{resolved} {done.resolved}, folded {done.folded}: {counted}")
    for at, because in islice(done.stays.items(), SHOWN_MAX):
        echo(f"{at} stays: {because}")
    if len(done.stays) > SHOWN_MAX:
        echo(f"and {len(done.stays) - SHOWN_MAX} more stay: --json prints all")


def _echo_resolution(done: Resolution, *, dry_run: bool, json: bool) -> None:
    if json:
        echo_json(done.document() | {"dry_run": dry_run})
        return
    folded = "would fold" if dry_run else "folded"
    echo(f"{folded} {len(done.folded)}: {done.tally.applied} applied, {done.tally.ignored} ignored")
    if done.stays is not None:
        echo(f"{done.stays} stays, with the events parked behind it: {done.because}")
