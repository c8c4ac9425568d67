"""`show` and `repair`: one generation, folded again from its own events in the log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias
from uuid import UUID

import orjson
import typer

from gengui_stream.cli.operator import Reason, order_of
from gengui_stream.cli.options import AsJson, moment
from gengui_stream.cli.output import counted_progress, echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.log.codec import as_document
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.projections.outcomes import appended_at
from gengui_stream.recovery.generations.refold import Step
from gengui_stream.recovery.generations.repair import Repaired
from gengui_stream.recovery.generations.repair import repair as repair_generation
from gengui_stream.recovery.generations.scan import Progress
from gengui_stream.recovery.generations.time_travel import (
    Journey,
    changes_of,
    document_of,
    effect_of,
    travel,
    type_of,
)
from gengui_stream.settings import Settings

HIDDEN = frozenset({"duplicates", "version", "heartbeat_at"})
"""Fields that change with nearly every event, and that --json has."""

WIDEST = 60


Id: TypeAlias = Annotated[UUID, typer.Argument(metavar="GENERATION-ID")]
At: TypeAlias = Annotated[str | None, typer.Option("--at", metavar="WHEN", help="A position, or a time (UTC).")]
Scan: TypeAlias = Annotated[
    bool, typer.Option("--scan", help="Search the partition for events that the timeline lacks: reads much of it.")
]


def show(
    generation: Id,
    at: At = None,
    diff: Annotated[bool, typer.Option("--diff", help="The fields that each event changed.")] = False,
    scan: Scan = False,
    json: AsJson = False,
) -> None:
    """Show a generation state by state: what each of its events changed, and why others changed nothing.

    gengui-stream show 0195b7a0-0000-7000-8000-000000000000 --at 2026-11-29T18:00:00Z --diff
    """

    when = None if at is None else moment(at, "--at")

    async def work(settings: Settings) -> None:
        with _scanning() as progress:
            async with opened_pool(settings, size=1) as pool, opened_lookup(settings) as log:
                journey = await travel(settings, pool, log, generation, when, scanned=scan, progress=progress)
        _echo_json(journey) if json else _echo(journey, diff)

    run_command(work)


def _echo(journey: Journey, diff: bool) -> None:
    if diff:
        for step in journey.steps:
            echo(f"{shown_time(appended_at(step.record))}  {step.position}  {type_of(step)}  {effect_of(step)}")
            for name, (before, after) in changes_of(step).items():
                if name not in HIDDEN:
                    echo(f"    {name}: {_brief(before)} → {_brief(after)}")
    else:
        columns = ("position", "appended", "type", "version", "status", "effect", "changed")
        echo_table(columns, map(_row, journey.steps))
    if journey.later:
        echo(f"{journey.later} later events are left out")
    if not diff:
        for name, value in document_of(journey.state).items():
            if value is not None and name not in HIDDEN:
                echo(f"{name:<18} {_text(value)}")


def _row(step: Step) -> tuple[object, ...]:
    after = step.after
    state = (after.version, after.status.value) if after else (None, None)
    changed = ", ".join(name for name in changes_of(step) if name not in HIDDEN) if step.before else ""
    return (step.position, shown_time(appended_at(step.record)), type_of(step), *state, effect_of(step), changed)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _brief(value: object) -> str:
    text = "-" if value is None else _text(value)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def _echo_json(journey: Journey) -> None:
    steps = [_document(step) for step in journey.steps]
    state = document_of(journey.state) or None
    echo_json({"generation_id": journey.generation_id, "steps": steps, "later": journey.later, "state": state})


def _document(step: Step) -> dict[str, object]:
    value = step.record.value
    return {
        "position": str(step.position),
        "appended_at": appended_at(step.record),
        "type": type_of(step),
        "effect": effect_of(step),
        "changes": {name: list(pair) for name, pair in changes_of(step).items()},
        "event": None if value is None or type_of(step).startswith("(") else as_document(value.decode()),
    }


def repair(
    generation: Id,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare. Exit 1 when anything differs.")] = False,
    scan: Scan = False,
    reason: Reason = "",
    json: AsJson = False,
) -> None:
    """Write the state, request and timeline of a generation again, as its events in the log say. Safe beside agents.

    gengui-stream repair 0195b7a0-0000-7000-8000-000000000000 --dry-run
    """

    async def work(settings: Settings) -> ExitCode:
        order = order_of("repair", reason)
        with _scanning() as progress:
            async with opened_pool(settings, size=1) as pool, opened_lookup(settings) as log:
                began = time.monotonic()
                options = {"dry_run": dry_run, "scanned": scan}
                done = await repair_generation(settings, pool, log, generation, order, **options, progress=progress)
        _echo_repaired(done, dry_run, round((time.monotonic() - began) * 1000), json)
        return ExitCode.FINDING if dry_run and not done.differences.agrees else ExitCode.OK

    run_command(work)


def _echo_repaired(done: Repaired, dry_run: bool, ms: int, json: bool) -> None:
    found = [str(position) for position in done.found]
    samples = [f"{each.table}  {each.key}  {each.what}" for each in done.differences.samples]
    if json:
        document = {"generation_id": done.generation_id, "records": done.records, "found": found, "ms": ms}
        changed = not (dry_run or done.differences.agrees)
        echo_json(document | {"differences": samples, "repaired": changed})
        return
    for line in samples:
        echo(line)
    if found:
        echo(f"{len(found)} events were found by the scan: {', '.join(found[:10])}")
    result = "agrees" if done.differences.agrees else "DISAGREES" if dry_run else "repaired"
    echo(f"{result}: {done.generation_id}, {done.records} events, in {ms} ms")


@contextmanager
def _scanning() -> Iterator[Progress]:
    with counted_progress() as shown:
        task = shown.add_task("scanning", total=None, visible=sys.stderr.isatty())
        yield lambda done, total: shown.update(task, completed=done, total=total)
