"""The figures that were measured of the previous service, measured here.

python -m tests.bench.jobs.original [--quick]
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.http.http_load import Answers, Load, put_under
from tests.bench.jobs.existing_worker import Drained, Thumbnailed, opened_worker
from tests.bench.report.quantiles import quantile
from tests.bench.system import System, opened_system, roles_started

ROLES: Final = ("agents", "api", "bridge", "thumbnails")
AT_ONCE, COMPLETED = 500, 100
CONNECTIONS: Final = 32


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in seconds; `one` and `page` are those of the two GET requests."""

    at_rest: Sequence[float]
    beside_thumbnails: Sequence[float]
    drained: Sequence[Drained]
    completed: Sequence[Thumbnailed]
    one: Answers
    page: Answers


def run(quick: bool) -> str:
    return section(
        asyncio.run(measure(samples=50 if quick else 300, runs=1 if quick else 3, seconds=3 if quick else 10))
    )


async def measure(*, samples: int, runs: int, seconds: float) -> Figures:
    async with opened_system() as system, roles_started(system, ROLES), opened_worker(system.settings) as worker:
        await worker.drain(20)  # connections, caches and prepared statements
        await worker.complete(20)
        at_rest = await worker.latencies(samples)
        async with worker.backlog():
            beside_thumbnails = await worker.latencies(samples)
        drained = [await worker.drain(AT_ONCE) for _ in range(runs)]
        completed = [await worker.complete(COMPLETED) for _ in range(runs)]
        one = await _asked(system, f"/v1/generations/{completed[-1].ids[0]}", seconds)
        page = await _asked(system, "/v1/generations?limit=50", seconds)
        return Figures(at_rest, beside_thumbnails, drained, completed, one, page)


async def _asked(system: System, path: str, seconds: float) -> Answers:
    headers = {"Authorization": f"Bearer {system.key}"}
    return await put_under(
        Load(port=system.settings.port, paths=[path], headers=headers, connections=CONNECTIONS, seconds=seconds)
    )


METHOD: Final = """\
The service that this one replaces (Node, one process) was measured separately, on another day, on a machine of the same
kind, with its own versions of PostgreSQL and Redis; those figures stand here beside ours. As shipped it runs a watcher
of its event loop that costs it much of its speed, so what was measured without that is given too. The procedure is the
same: a status is added to the Redis stream, and the row polled every 2 ms; 500 statuses at once; 100 completed
generations at once, each with an image of 1024² pixels; 32 connections that ask again when answered. A status
goes further here: through the log, into the state and the timeline."""


def section(figures: Figures) -> str:
    """The original's figures are medians of its runs, or their range."""
    drained, completed = median(e.all_s for e in figures.drained), median(e.thumbnails_s for e in figures.completed)
    rows = (
        ("status → row changed, p50 / p99 ms, at rest", "2,077 / 3,903", "", _latency(figures.at_rest)),
        ("the same while thumbnails wait to be made", "6.1 / 103.7", "", _latency(figures.beside_thumbnails)),
        ("500 statuses at once: first row, s", "2.10", "", f"{median(e.first_s for e in figures.drained):.3f}"),
        ("… last row, s", "1,044", "", f"{drained:.2f}"),
        ("… statuses/s", "0.48", "", f"{AT_ONCE / drained:,.0f}"),
        ("100 completed: all rows, s", "11.2 to 11.9", "8.1 to 8.9", f"{_completed(figures):.2f}"),
        ("… all thumbnails, s", "13.4 to 14.1", "10.3 to 11.0", f"{completed:.2f}"),
        ("… thumbnails/s", "7.1 to 7.5", "9.1 to 9.7", f"{COMPLETED / completed:.1f}"),
        ("GET one, requests/s", "206 to 226", "594 to 700", f"{figures.one.per_s:,.0f}"),
        ("… p99 ms", "211 to 266", "80 to 104", f"{figures.one.p99_ms:.1f}"),
        ("GET a page of 50, requests/s", "150 to 170", "376", f"{figures.page.per_s:,.0f}"),
        ("… p99 ms", "251 to 341", "149", f"{figures.page.p99_ms:.1f}"),
    )
    head = "| | the original, as shipped | without its watcher | GenGui Stream |"
    return "\n".join([METHOD, "", head, "|---|---:|---:|---:|", *(f"| {' | '.join(row)} |" for row in rows)])


def _latency(seconds: Sequence[float]) -> str:
    return f"{quantile(seconds, 0.5) * 1000:.1f} / {quantile(seconds, 0.99) * 1000:.1f}"


def _completed(figures: Figures) -> float:
    return median(each.completed_s for each in figures.completed)


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
