"""`make bench`: measures section after section and writes docs/benchmarks.md.

python -m tests.bench [--quick] [--only fold,freshness,…] [--page PATH]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.report.conditions import ROOT, conditions
from tests.bench.report.page import HEADING, replaced
from tests.bench.report.progress import say

PAGE: Final = ROOT / "docs" / "benchmarks.md"


class Section(NamedTuple):
    """`module`: below this package, with `run(quick: bool) -> str`."""

    module: str
    heading: str


SECTIONS: Final = {
    "fold": Section("fold.measurement", "Live fold"),
    "rebuild": Section("rebuild", "Rebuilding from the log"),
    "freshness": Section("freshness.measurement", "From an append to what a reader sees"),
    "cluster": Section("cluster", "Three brokers"),
    "log_length": Section("freshness.log_length", "Freshness by the length of the log"),
    "beside_rebuild": Section("freshness.beside_rebuild", "Freshness beside a rebuild"),
    "start": Section("start", "Start times and memory of the stack"),
    "http": Section("http.measurement", "Reading over HTTP"),
    "accounts": Section("http.accounts", "Log-ins, and other requests beside them"),
    "addresses": Section("http.addresses", "Known and unknown addresses"),
    "limits": Section("http.limits", "Limits"),
    "thumbnails": Section("jobs.thumbnails", "Thumbnails"),
    "original": Section("jobs.original", "Beside the original service"),
    "memory": Section("memory", "Memory"),
    "flags": Section("flags", "Choosing a provider by feature flags"),
    "dispatching": Section("jobs.dispatching", "Dispatch and reconciliation"),
    "costs": Section("costs", "What an event and a generation cost"),
    "backlog": Section("jobs.backlog", "A queue that waits for a slow provider"),
    "rolling_agents": Section("rolling.agents", "A rolling restart of two agents"),
    "rolling": Section("rolling.every_role", "A rolling restart of every role"),
}

RUN: Final = "import importlib, sys; print(importlib.import_module(sys.argv[1]).run(sys.argv[2] == 'quick'))"


def main() -> int:
    arguments = _arguments()
    names: list[str] = arguments.only or list(SECTIONS)
    page: Path | None = arguments.page or (None if arguments.quick else PAGE)
    failed = [name for name in names if not _measured(name, page, quick=arguments.quick)]
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs, printed; the page is left as it is")
    parser.add_argument("--page", type=Path, help=f"written to in place of {PAGE.relative_to(ROOT)}, also with --quick")
    parser.add_argument("--only", type=_names, metavar="NAMES", help=f"some of {','.join(SECTIONS)}")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def _measured(name: str, page: Path | None, *, quick: bool) -> bool:
    """Runs one section, then prints it or writes it to the page at once, so that a later failure loses nothing."""
    began, circumstances = time.monotonic(), conditions(_command(name, quick=quick))
    say(f"{name} ...")
    text = _run(name, quick=quick)
    say(f"{name}: {'measured' if text else 'FAILED'} in {time.monotonic() - began:.0f} s")
    if not text:
        return False
    section = f"{circumstances}\n\n{text.strip()}"
    if page is None:
        print(f"{HEADING}{SECTIONS[name].heading}\n\n{section}\n", flush=True)
    else:
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        order = [one.heading for one in SECTIONS.values()]
        page.write_text(replaced(before, {SECTIONS[name].heading: section}, order), encoding="utf-8")
    return True


def _run(name: str, *, quick: bool) -> str:
    """In a separate process, so that no section affects the next one."""
    command = [sys.executable, "-c", RUN, f"tests.bench.{SECTIONS[name].module}", "quick" if quick else "full"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return "" if done.returncode else done.stdout


def _command(name: str, *, quick: bool) -> str:
    return f'make bench ARGS="--only {name}{" --quick" if quick else ""}"'


if __name__ == "__main__":
    sys.exit(main())
