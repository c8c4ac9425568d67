"""`doctor`: one line for each finding, with its remedy; `--json` for programs."""

import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.text import Text

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo_json
from gengui_stream.cli.runner import names_no_server, run_inspected_command
from gengui_stream.doctor.examination import Progress, Report
from gengui_stream.doctor.findings import Finding, Status, fail, ok, warn
from gengui_stream.logging import log_for_people
from gengui_stream.printable import printable
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.settings import DEV_ENV, Inspection, Settings
from gengui_stream.settings.advice import advice, remarks

CONNECTIONS: Final = frozenset({"postgresql.connection", "redis.connection", "kafka.connection", "object_store.bucket"})

STYLES: Final[dict[Status, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(json: AsJson = False) -> None:
    """Check settings, servers, providers, roles and the backlog, with remedies. Exit 1 when a check fails.

    gengui-stream doctor --json
    """

    def work(inspection: Inspection) -> ExitCode:
        began = time.monotonic()
        report = _examined(inspection)
        seconds = round(time.monotonic() - began, 1)
        _print_json(report, seconds) if json else _print(report, seconds)
        code = ExitCode.FINDING if report.status == "fail" else ExitCode.OK
        if report.abandoned:  # a normal exit would wait for its thread or task
            sys.stdout.flush()
            os._exit(code)
        return code

    run_inspected_command(work)


def _examined(inspection: Inspection) -> Report:
    about, settings = _of_settings(inspection), inspection.settings
    if settings is None:
        return Report(tuple(about))
    report = _of_system(settings)
    if names_no_server(inspection) and all(one.status == "fail" for one in report.findings if one.name in CONNECTIONS):
        about.append(
            warn("settings", "they name no servers but those of `make dev`, and none answers", "run `make dev`")
        )
    return Report((*about, *report.findings), report.not_checked, report.abandoned)


def _of_settings(inspection: Inspection) -> list[Finding]:
    name, settings = "settings", inspection.settings
    faults = [fail(name, fault, "correct it in the environment or in .env") for fault in inspection.faults]
    notes = [*remarks(inspection), *(advice(settings) if settings else ())]
    warnings = [warn(name, remark, "see `gengui-stream config show`") for remark in notes]
    valid = [ok(name, f"valid, {len(inspection.variables)} set")] if settings else []
    return [*faults, *valid, *warnings]


def _of_system(settings: Settings) -> Report:
    import uvloop

    from gengui_stream.doctor.checks import CHECKS
    from gengui_stream.doctor.examination import examine

    quiet = settings.log_level != "debug"  # errors are findings, which are printed once
    log_for_people(settings.model_copy(update={"log_level": "error"}) if quiet else settings, "cli")
    with _shown_progress() as progress:
        # Not uvloop.run, which waits at its end for abandoned tasks too.
        return uvloop.new_event_loop().run_until_complete(examine(settings, DEV_ENV.parent, CHECKS, progress))


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """Only on a terminal."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("checking ...") as status:

        def show(running: Collection[str]) -> None:
            status.update(f"checking {', '.join(running)} ...")

        yield show


def _print_json(report: Report, seconds: float) -> None:
    findings = [asdict(finding) for finding in report.findings]
    echo_json({"status": report.status, "findings": findings, "not_checked": report.not_checked, "seconds": seconds})


def _print(report: Report, seconds: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, soft_wrap=True)
    width = max((len(finding.name) for finding in report.findings), default=0)
    for finding in report.findings:
        console.print(
            Text.assemble(
                (f"{finding.status:<4}", STYLES[finding.status]),
                f"  {finding.name:<{width}}  {printable(finding.detail)}",
            )
        )
        if finding.remedy is not None:
            console.print(Text(f"      → {printable(finding.remedy)}"))
    for check, servers in report.not_checked.items():
        console.print(Text(f"--    {check:<{width}}  not checked: it needs {', '.join(servers)}"))
    console.print(Text(_summary(report, seconds)))


def _summary(report: Report, seconds: float) -> str:
    counts = {status: sum(one.status == status for one in report.findings) for status in STYLES}
    return f"{counts['fail']} failed, {counts['warn']} warnings, {counts['ok']} ok, in {seconds} s"
