"""`dead-letters`: events that could not be folded, and the events parked behind them."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Final, NoReturn, TypeAlias

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import counted_progress, echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.jobs.timings import job_timings
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.recovery import dead_letters
from gengui_stream.recovery.bulk_dead_letters import BulkResolution, ResolveOn, resolve_all
from gengui_stream.recovery.dead_letters import DeadLetter, Resolution
from gengui_stream.settings import Settings

app = typer.Typer(help="Events that could not be folded.", no_args_is_help=True)


def _position(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Resolve: TypeAlias = Callable[[Pool, str, Position, JobTimings], Awaitable[Resolution]]

At: TypeAlias = Annotated[Position, typer.Argument(parser=_position, metavar="PARTITION:OFFSET")]
MaybeAt: TypeAlias = Annotated[Position | None, typer.Argument(parser=_position, metavar="[PARTITION:OFFSET]")]

SHOWN_MAX: Final = 20


@app.command("list")
def list_letters(
    resolved: Annotated[bool, typer.Option("--all", help="Also resolved ones.")] = False,
    parked: Annotated[bool, typer.Option("--parked", help="Also events that are parked behind another.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    json: AsJson = False,
) -> None:
    """List dead letters in the order of the log.

    gengui-stream dead-letters list --parked
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            letters = await dead_letters.listed(
                pool, settings.events_topic, resolved=resolved, parked=parked, limit=limit
            )
        if json:
            echo_json([_document(letter) for letter in letters])
        else:
            echo_table(("position", "generation", "reason", "appended", "resolution", "detail"), map(_row, letters))

    run_command(work)


def _row(letter: DeadLetter) -> tuple[object, ...]:
    moment = shown_time(letter.appended_at)
    detail = letter.detail if len(letter.detail) <= 100 else f"{letter.detail[:100]}…"
    return (letter.position, letter.generation_id, letter.reason, moment, letter.resolution or "open", detail)


def _document(letter: DeadLetter) -> dict[str, object]:
    return (
        {"position": str(letter.position)} | asdict(letter) | {"key": _text(letter.key), "value": _text(letter.value)}
    )


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


@app.command()
def show(at: At, json: AsJson = False) -> None:
    """Show one dead letter with its record.

    gengui-stream dead-letters show 2:1041 --json
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            letter = await dead_letters.find(pool, settings.events_topic, at)
        document = _document(letter)
        if json:
            echo_json(document)
            return
        for name, value in document.items():
            echo(f"{name:<14} {'' if value is None else value}")

    run_command(work)


All: TypeAlias = Annotated[bool, typer.Option("--all", help="All open ones, in the order of the log.")]
Reason: TypeAlias = Annotated[str | None, typer.Option("--reason", help="With --all: only those of this reason.")]


@app.command()
def retry(at: MaybeAt = None, every: All = False, reason: Reason = None, json: AsJson = False) -> None:
    """Fold the event again, and the events parked behind it. Exit 1 when it, or with --all any, cannot be folded.

    gengui-stream dead-letters retry 2:1041
    """
    _check_arguments(at, every=every, reason=reason)
    if at is None:
        _resolve_all(dead_letters.retry_on, reason, json)
    _resolve(dead_letters.retry, at, json)


@app.command()
def discard(at: MaybeAt = None, every: All = False, reason: Reason = None, json: AsJson = False) -> None:
    """Skip the event for good, and fold the events parked behind it. The record stays in the log and in the list.

    --all needs a --reason.

    gengui-stream dead-letters discard 2:1041
    """
    _check_arguments(at, every=every, reason=reason)
    if at is None and reason is None:
        raise typer.BadParameter("--all needs a --reason, such as not_json")
    if at is None:
        _resolve_all(dead_letters.discard_on, reason, json)
    _resolve(dead_letters.discard, at, json)


def _check_arguments(at: Position | None, *, every: bool, reason: str | None) -> None:
    if (at is None) is not every:
        raise typer.BadParameter("either a position, such as 2:1041, or --all is needed")
    if reason is not None and not every:
        raise typer.BadParameter("--reason needs --all")


def _resolve(resolve: Resolve, at: Position, json: bool) -> NoReturn:
    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            _echo_resolution(await resolve(pool, settings.events_topic, at, job_timings(settings)), json)

    run_command(work)


def _resolve_all(resolve: ResolveOn, reason: str | None, json: bool) -> NoReturn:
    async def work(settings: Settings) -> ExitCode:
        topic, timings = settings.events_topic, job_timings(settings)
        with counted_progress() as shown:
            task = shown.add_task("resolving", total=None)
            async with opened_pool(settings, size=1) as pool:
                done = await resolve_all(
                    pool,
                    topic,
                    resolve,
                    timings,
                    reason=reason,
                    progress=lambda tried, total: shown.update(task, completed=tried, total=total),
                )
        _echo_all(done, json)
        return ExitCode.FINDING if done.stays else ExitCode.OK

    run_command(work)


def _echo_all(done: BulkResolution, json: bool) -> None:
    counts = {"applied": done.tally.applied, "ignored": done.tally.ignored}
    if json:
        stays = [{"position": str(at), "because": because} for at, because in done.stays.items()]
        echo_json({"resolved": done.resolved, "folded": done.folded} | counts | {"stays": stays})
        return
    echo(f"resolved {done.resolved}, folded {done.folded}: {done.tally.applied} applied, {done.tally.ignored} ignored")
    for at, because in islice(done.stays.items(), SHOWN_MAX):
        echo(f"{at} stays: {because}")
    if len(done.stays) > SHOWN_MAX:
        echo(f"and {len(done.stays) - SHOWN_MAX} more stay: --json prints all")


def _echo_resolution(done: Resolution, json: bool) -> None:
    if json:
        stays = None if done.stays is None else str(done.stays)
        counts = {"applied": done.tally.applied, "ignored": done.tally.ignored}
        echo_json(counts | {"folded": [str(at) for at in done.folded], "stays": stays, "because": done.because})
        return
    echo(f"folded {len(done.folded)}: {done.tally.applied} applied, {done.tally.ignored} ignored")
    if done.stays is not None:
        echo(f"{done.stays} stays, with the events parked behind it: {done.because}")
