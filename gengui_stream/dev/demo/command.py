"""`gengui-stream demo`: the whole system once, end to end, in a temporary directory."""

import asyncio
import signal
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.dev.demo.client import DemoClient, open_client
from gengui_stream.dev.demo.contact_sheet import write_contact_sheet
from gengui_stream.dev.demo.progress import DemoProgress
from gengui_stream.dev.demo.provider import DemoProvider
from gengui_stream.dev.demo.report import DemoReport, Made, count_events, print_json, print_report
from gengui_stream.dev.demo.run import DemoRun, make_generations
from gengui_stream.dev.demo.start import DemoStart, say
from gengui_stream.dev.demo.system import running_system
from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.errors import TransientError
from gengui_stream.process.exit_codes import ExitCode
from schemas.http import EventResource

FETCHES_AT_ONCE: Final = 8
FAULTS_SHOWN: Final = 20

Outcome: TypeAlias = tuple[DemoReport, Sequence[EventResource]]
"""The report, and the timeline of one generation."""


def run_demo(start: DemoStart, count: int, provider: DemoProvider, forks: ForkServer | None) -> Outcome:
    return asyncio.run(_until_signalled(_demo(start, count, provider, forks)))


async def _until_signalled(work: Coroutine[None, None, Outcome]) -> Outcome:
    """SIGTERM and SIGHUP cancel the work, as Ctrl-C does by default."""
    task = asyncio.ensure_future(work)
    for sign in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    return await task


async def _demo(start: DemoStart, count: int, provider: DemoProvider, forks: ForkServer | None) -> Outcome:
    async with running_system(start, provider, say=say, forks=forks) as system:
        try:
            async with open_client(system.url, system.key) as client:
                run = await system.while_alive(_generations(client, count))
                made = await _collect(client, run)
                timeline = await client.timeline(made[0].resource.id) if made else []
        except TransientError as error:
            raise TransientError(f"{error}\n{system.ends_of_logs()}") from error
        counts = await count_events(system.settings)
        report = DemoReport(run, made, counts, time.monotonic() - start.began)
        if report.faults():
            say(system.ends_of_logs(report.suspects()))
        return report, timeline


async def _generations(client: DemoClient, count: int) -> DemoRun:
    say(f"submitting {count} generations ...")
    with DemoProgress(count) as progress:
        run = DemoRun(count, progress.show)
        await make_generations(client, run)
    return run


async def _collect(client: DemoClient, run: DemoRun) -> list[Made]:
    """Fetches each generation from the API, and its image and thumbnail from the object store."""
    downloads = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def one(generation_id: UUID) -> Made:
        async with downloads:
            resource = await client.get(generation_id)
            output = next(iter(resource.outputs), None)
            image = await client.fetch(output.url) if output and output.url else b""
            thumbnail = await client.fetch(output.thumbnail_url) if output and output.thumbnail_url else b""
            return Made(resource, len(image), thumbnail)

    return await asyncio.gather(*map(one, sorted(run.generations)))


def finish_demo(outcome: Outcome, output: Path, *, as_json: bool) -> int:
    """Prints the report and returns the exit code."""
    report, timeline = outcome
    sheet = [(made.thumbnail, made.resource.prompt) for made in report.made if made.thumbnail]
    faults = report.faults()
    if sheet:
        try:
            write_contact_sheet(sheet, output)
            say(f"contact sheet of {len(sheet)} thumbnails: {output.resolve()}")
        except OSError as error:
            faults.append(f"the contact sheet: {error}")
    for fault in faults[:FAULTS_SHOWN]:
        say(f"missing: {fault}")
    print_json(report) if as_json else print_report(report, timeline)
    return ExitCode.FINDING if faults else ExitCode.OK
