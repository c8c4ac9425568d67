"""`gengui-stream demo`: the whole system once, end to end, in a directory of its own that is gone afterwards."""

import asyncio
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.dev.contact_sheet import write_contact_sheet
from gengui_stream.dev.demo_client import DemoClient, open_client
from gengui_stream.dev.demo_progress import DemoProgress
from gengui_stream.dev.demo_provider import DemoProvider
from gengui_stream.dev.demo_report import DemoReport, Made, count_events, print_json, print_report
from gengui_stream.dev.demo_run import DemoRun, make_generations
from gengui_stream.dev.demo_system import running_system
from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.exit_codes import ExitCode
from schemas.http import EventResource

FETCHES_AT_ONCE: Final = 8
FAULTS_SHOWN: Final = 20
INTERRUPTED: Final = 130

Outcome: TypeAlias = tuple[DemoReport, Sequence[EventResource]]
"""The report, and the history of one generation."""


def run_demo(count: int, provider: DemoProvider, as_json: bool, output: Path, forks: ForkServer | None) -> int:
    """Returns the exit code."""
    began = time.monotonic()
    try:
        _check_writable(output)
    except OSError as error:
        _say(f"the contact sheet cannot be written to {output}: {error.strerror}; choose another --output")
        return ExitCode.USAGE
    try:
        with temporary_directory("gengui-demo-") as directory:
            report, history = asyncio.run(_until_told(_demo(directory, count, provider, began, forks)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted; everything was stopped")
        return INTERRUPTED
    except ConfigurationError as error:
        _say(str(error))
        return ExitCode.CONFIGURATION
    except TransientError as error:
        _say(f"the demo failed: {error}")
        return ExitCode.UNAVAILABLE
    return _finish(report, history, output, as_json=as_json)


def _check_writable(output: Path) -> None:
    """Raises OSError now and not when everything else is done. Leaves a file that exists as it is."""
    output.parent.mkdir(parents=True, exist_ok=True)
    existed = output.exists()
    output.open("ab").close()
    if not existed:
        output.unlink()


async def _until_told(work: Coroutine[None, None, Outcome]) -> Outcome:
    """SIGTERM and a closed terminal cancel the work, as Ctrl-C does by itself."""
    task = asyncio.ensure_future(work)
    for sign in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    return await task


async def _demo(directory: Path, count: int, provider: DemoProvider, began: float, forks: ForkServer | None) -> Outcome:
    async with running_system(directory, provider, say=_say, forks=forks) as system:
        try:
            async with open_client(system.url, system.key) as client:
                run = await system.while_alive(_generations(client, count))
                made = await _collect(client, run)
                history = await client.history(made[0].resource.id) if made else []
        except TransientError as error:
            raise TransientError(f"{error}\n{system.ends_of_logs()}") from error
        counts = await count_events(system.settings)
        report = DemoReport(run, made, counts, time.monotonic() - began)
        if report.faults():
            _say(system.ends_of_logs(report.suspects()))
        return report, history


async def _generations(client: DemoClient, count: int) -> DemoRun:
    _say(f"submitting {count} generations ...")
    with DemoProgress(count) as progress:
        run = DemoRun(count, progress.show)
        await make_generations(client, run)
    return run


async def _collect(client: DemoClient, run: DemoRun) -> list[Made]:
    """Each generation from the API, its image and its thumbnail from the object store."""
    turns = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def one(generation_id: UUID) -> Made:
        async with turns:
            resource = await client.get(generation_id)
            output = next(iter(resource.outputs), None)
            image = await client.fetch(output.url) if output else b""
            thumbnail = await client.fetch(output.thumbnail_url) if output and output.thumbnail_url else b""
            return Made(resource, len(image), thumbnail)

    return await asyncio.gather(*map(one, sorted(run.generations)))


def _finish(report: DemoReport, history: Sequence[EventResource], output: Path, *, as_json: bool) -> int:
    sheet = [(made.thumbnail, made.resource.prompt) for made in report.made if made.thumbnail]
    faults = report.faults()
    if sheet:
        try:
            write_contact_sheet(sheet, output)
            _say(f"contact sheet of {len(sheet)} thumbnails: {output.resolve()}")
        except OSError as error:
            faults.append(f"the contact sheet: {error}")
    for fault in faults[:FAULTS_SHOWN]:
        _say(f"missing: {fault}")
    print_json(report) if as_json else print_report(report, history)
    return ExitCode.FINDING if faults else ExitCode.OK


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
