"""`events`: the log as it grows, and the timeline of one generation."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import orjson
import typer

from gengui_stream.cli.options import AsJson, time
from gengui_stream.cli.output import echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, as_document
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.log.positions import parse_vector
from gengui_stream.log.reader import open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.projections.outcomes import appended_at
from gengui_stream.recovery.dead_letters.letters import DeadLetter
from gengui_stream.recovery.generations.history import History, Recorded, history_of
from gengui_stream.recovery.lag import log_ends
from gengui_stream.recovery.tail import Tail, TailFilter
from gengui_stream.settings import Settings
from schemas.events import EVENT_CLASSES

app = typer.Typer(help="The log, and the timeline of a generation.", no_args_is_help=True)

SHOWN_FIELDS = (
    "attempt",
    "percent",
    "stage",
    "provider",
    "worker",
    "reason",
    "output_id",
    "error",
    "outputs",
    "prompt",
)


def _start(text: str) -> dict[int, int] | None:
    """The offsets to start at; None for the end of the log."""
    if text == "end":
        return None
    try:
        return {} if text == "start" else parse_vector(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; or start, or end", param_hint="--from") from None


async def _checked_offsets(offsets: dict[int, int], settings: Settings) -> dict[int, int]:
    """From an offset that the broker does not have, a partition would be read from its beginning instead."""
    if strange := sorted(set(offsets) - set(range(settings.events_partitions))):
        last = settings.events_partitions - 1
        raise _not_in_the_log(f"{settings.events_topic} has no partition {strange[0]}, only 0 to {last}")
    ends = await log_ends(settings) if offsets else {}
    for partition, offset in offsets.items():
        if offset > ends[partition]:
            raise _not_in_the_log(f"partition {partition} ends at {partition}:{ends[partition]}, before {offset}")
    return offsets


def _not_in_the_log(fault: str) -> typer.BadParameter:
    return typer.BadParameter(fault, param_hint="--from")


@app.command()
def tail(
    *,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="start, end, or next offsets such as 0:12,3:400; other partitions from their start. Default: end.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this time (UTC) on, instead of --from.")
    ] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")] = None,
    generation: Annotated[UUID | None, typer.Option(help="Only this generation.")] = None,
    owner: Annotated[UUID | None, typer.Option(help="Only generations of this user.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only generations at this provider.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more at the end of the log.")] = True,
    json: AsJson = False,
) -> None:
    """Print the events of the log as they are appended, until Ctrl-C.

    gengui-stream events tail --type generation.failed --provider runpod

    gengui-stream events tail --since 2026-11-29T18:00:00Z --no-follow --json
    """
    if start is not None and since is not None:
        raise typer.BadParameter("either --from or --since, not both", param_hint="--since")
    offsets = _start(start or "end")
    moment = None if since is None else time(since, "--since")
    wanted = TailFilter(types=_checked(types or []), generation=generation, owner=owner, provider=provider)

    async def work(settings: Settings) -> None:
        await check_topic(settings)
        if moment is not None:
            begin = await _offsets_at(settings, moment)
        else:
            begin = await log_ends(settings) if offsets is None else await _checked_offsets(offsets, settings)
        async with _opened_pool(settings, wanted) as pool, open_reader(settings, begin) as reader:
            selected = Tail(wanted, pool)
            async for records in reader.follow() if follow else reader.until_end():
                async for record, event, type_ in selected.select(records):
                    _echo_record(record, event, type_, json)

    run_command(work)


async def _offsets_at(settings: Settings, moment: datetime) -> dict[int, int]:
    async with opened_lookup(settings) as log:
        return await log.offsets_at(moment)


@asynccontextmanager
async def _opened_pool(settings: Settings, wanted: TailFilter) -> "AsyncIterator[Pool | None]":
    """Only where a filter needs PostgreSQL."""
    if not wanted.needs_names:
        yield None
        return
    async with opened_pool(settings, size=1) as pool:
        yield pool


def _checked(types: list[str]) -> list[str]:
    known = [cls.model_fields["type"].default for cls in EVENT_CLASSES]
    unknown = [name for name in types if name not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(known)}", param_hint="--type")
    return types


def _echo_record(record: LogRecord, event: Decoded, type_: str, json: bool) -> None:
    fields = None if isinstance(event, Undecodable | UnknownType) else event.model_dump(mode="json", exclude_none=True)
    moment = appended_at(record)
    position = f"{record.partition}:{record.offset}"
    if json:
        key = record.key.decode(errors="backslashreplace") if record.key else None
        echo_json({"position": position, "appended_at": moment, "key": key, "type": type_, "event": fields})
        return
    detail = "  ".join(f"{name}={_brief(fields[name])}" for name in SHOWN_FIELDS if fields and name in fields)
    owner = event.generation_id or "-"
    echo(f"{shown_time(moment)}  {position:>9}  {type_:<30}  {owner}  {detail}")


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


@app.command()
def show(
    generation: Annotated[UUID, typer.Argument(metavar="GENERATION-ID")],
    json: AsJson = False,
) -> None:
    """Print the timeline of one generation: the effect of each event, or why it was ignored.

    gengui-stream events show 0195b7a0-0000-7000-8000-000000000000
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            history = await history_of(pool, settings.events_topic, generation)
        if json:
            documents = [_document(record) for record in history.records]
            echo_json({"generation_id": generation, "history": documents, "pruned_before": history.pruned_before})
        else:
            _echo_history(history)

    run_command(work)


def _echo_history(history: History) -> None:
    if history.pruned_before is not None:
        echo(f"events before {shown_time(history.pruned_before)} were removed by retention; the log has them")
    columns = ("position", "appended", "+ms", "type", "attempt", "version", "status", "outcome")
    echo_table(columns, [_row(record, history.records[0]) for record in history.records])


def _document(record: Recorded) -> dict[str, object]:
    """A dead letter has the same names; what only a folded event has is null."""
    row: Mapping[str, object] = {} if isinstance(record, DeadLetter) else record._asdict()
    return {
        "position": str(record.position),
        **{name: row.get(name) for name in ("type", "attempt", "occurred_at")},
        "appended_at": record.appended_at,
        **{name: row.get(name) for name in ("version", "status", "ignored")},
        "dead": _reason(record) if isinstance(record, DeadLetter) else None,
        "event": None if isinstance(record, DeadLetter) else as_document(record.payload),
    }


def _row(record: Recorded, first: Recorded) -> tuple[object, ...]:
    elapsed = round((record.appended_at - first.appended_at).total_seconds() * 1000)
    begin = (record.position, record.appended_at, elapsed)
    if isinstance(record, DeadLetter):
        return (*begin, None, None, None, None, f"dead: {_reason(record)}")
    outcome = f"ignored: {record.ignored}" if record.ignored else "applied"
    return (*begin, record.type, record.attempt, record.version, record.status, outcome)


def _reason(letter: DeadLetter) -> str:
    return f"{letter.reason} {letter.resolution}" if letter.resolution else letter.reason
