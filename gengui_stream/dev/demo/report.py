"""The report of a demo: the table, one timeline, the measurements, and everything that is missing."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gengui_stream.dev.demo.run import DemoRun
from gengui_stream.printable import printable
from gengui_stream.projecting import checkpoints
from gengui_stream.settings import Settings
from schemas.http import EventResource, GenerationResource, OutputResource

WITHOUT_URL, WITH_URL = 112, 190
"""The minimum width of the table in columns."""

_WHOSE_TURN: Final = {"queued": "dispatch", "completed": "thumbnails"}


@dataclass(frozen=True, slots=True)
class Made:
    """The final resource of a generation, and the downloads of its URLs."""

    resource: GenerationResource
    image_bytes: int
    thumbnail: bytes

    @property
    def output(self) -> OutputResource | None:
        return next(iter(self.resource.outputs), None)


@dataclass(frozen=True, slots=True)
class Counts:
    """The state of the projector over all partitions."""

    events: int
    applied: int
    ignored: int
    dead_lettered: int


async def _positions(settings: Settings) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.database_dsn)
    try:
        return await connection.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, settings.events_topic)
    finally:
        await connection.close()


async def claimed_partitions(settings: Settings) -> int:
    """The number of partitions that agents own."""
    return len(await _positions(settings))


async def count_events(settings: Settings) -> Counts:
    rows = await _positions(settings)
    sums = [sum(row[name] for row in rows) for name in ("applied", "ignored", "dead_lettered")]
    return Counts(sum(row["next_offset"] - row["start_offset"] for row in rows), *sums)


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The completeness and the measurements of the demo."""

    run: DemoRun
    made: Sequence[Made]
    counts: Counts
    seconds: float

    def faults(self) -> list[str]:
        """One sentence for each missing thing."""
        silent = [f"{key} was not settled: {one.status}" for key, one in self.run.unsettled()]
        missing = [f"{made.resource.id} {fault}" for made in self.made if (fault := _fault(made))]
        return [*silent, *missing, *self._faults_of_counts()]

    def suspects(self) -> set[str]:
        """The roles that should have made what is missing."""
        return {_WHOSE_TURN.get(made.resource.status, "worker") for made in self.made if _fault(made)} or {"agents"}

    def _faults_of_counts(self) -> list[str]:
        counts, faults = self.counts, []
        if len(self.made) < self.run.count:
            faults.append(f"{self.run.count - len(self.made)} of {self.run.count} generations were never accepted")
        if counts.dead_lettered:
            faults.append(f"{counts.dead_lettered} events were dead-lettered")
        if counts.applied + counts.ignored + counts.dead_lettered != counts.events:
            faults.append(f"the projector's counts do not add up: {counts}")
        return faults

    def as_json(self) -> dict[str, object]:
        """`submit_to_completed_ms`: from before the request is sent until the completed event is here, by the client's
        clock; waiting behind the other generations is part of it. `publish_to_visible_ms`: of every event, from the
        timestamp that the log has of it (whole milliseconds, so up to one too many) until the client has it from the
        live stream, which reads committed rows only; the stream was open before the first request, so that no event
        was there before it. `seconds`: from the command's start until everything was fetched and counted."""
        return {
            "generations": self.run.count,
            "completed": sum(made.resource.status == "completed" for made in self.made),
            "thumbnails": sum(bool(made.thumbnail) for made in self.made),
            "events": self.counts.events,
            "applied": self.counts.applied,
            "ignored": self.counts.ignored,
            "dead_lettered": self.counts.dead_lettered,
            "submit_to_completed_ms": percentiles(self.run.submit_to_completed_ms()),
            "publish_to_visible_ms": percentiles(self.run.delays_ms),
            "seconds": round(self.seconds, 3),
        }


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Percentiles by nearest rank, so each is a measured value. Null without values."""
    ordered = sorted(values)

    def rank(share: float) -> float | None:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 2) if ordered else None

    return {"p50": rank(0.50), "p99": rank(0.99)}


def _fault(made: Made) -> str | None:
    output = made.output
    if made.resource.status != "completed":
        error = made.resource.error
        return f"is {made.resource.status}: {error.message}" if error else f"is {made.resource.status}"
    if output is None or not made.image_bytes:
        return "has no image"
    if not made.thumbnail:
        return f"has no thumbnail: {output.thumbnail_error or 'none was made'}"
    return None


def print_json(report: DemoReport) -> None:
    sys.stdout.write(orjson.dumps(report.as_json()).decode() + "\n")


def print_report(report: DemoReport, timeline: Sequence[EventResource]) -> None:
    """As wide as its cells outside a terminal, and never so narrow that an id or a number is cut."""
    seen = sys.stdout.isatty()
    console = Console(width=max(WITHOUT_URL, Console().width) if seen else 1_000, highlight=False, markup=False)
    has_room = console.width >= WITH_URL
    console.print(_generations(report.made, with_url=has_room))
    if report.made:
        if not has_room:
            console.print(f"each was at {report.made[0].resource.urls.self.rpartition('/')[0]}/ID\n")
        console.print(f"timeline of {report.made[0].resource.id}")
        console.print(_timeline(timeline))
    for name, value in report.as_json().items():
        console.print(f"{name}: {_plain(value)}")


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {'-' if part is None else part}" for name, part in value.items())
    return str(value)


def _generations(made: Sequence[Made], *, with_url: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for column in ("attempt", "queue ms", "run ms", "total ms", "image", "thumbnail"):
        table.add_column(column, justify="right", no_wrap=True)
    if with_url:
        table.add_column("URL", no_wrap=True)
    for one in made:
        cells = [*map(_text, _cells(one))]
        table.add_row(*cells[: len(table.columns)])
    return table


def _cells(made: Made) -> tuple[object, ...]:
    resource, metrics = made.resource, made.resource.metrics
    times = (metrics.queue_ms, metrics.run_ms, metrics.total_ms)
    sizes = (f"{made.image_bytes:,} B", f"{len(made.thumbnail):,} B")
    return (resource.id, resource.status, resource.attempt, *times, *sizes, resource.urls.self)


def _timeline(events: Sequence[EventResource]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("position", "occurred at", "event", "attempt", "status", "percent", "ignored"):
        table.add_column(column, no_wrap=True)
    for one in events:
        occurred = one.occurred_at.time().isoformat("milliseconds") if one.occurred_at else None
        cells = (one.position, occurred, one.type, one.attempt, one.status, one.event.get("percent"), one.ignored)
        table.add_row(*map(_text, cells))
    return table


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))
