"""`make bench`: measures section after section and writes docs/benchmarks.md.

python -m tests.bench [--quick] [--only fold,freshness,…] [--page PATH]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.conditions import ROOT, conditions
from tests.bench.page import HEADING, replaced
from tests.bench.progress import say

PAGE: Final = ROOT / "docs" / "benchmarks.md"
HEADINGS: Final = {
    "fold": "Live fold",
    "freshness": "From an append to what a reader sees",
    "log_length": "Freshness by the length of the log",
    "start": "Start times and memory of the stack",
    "http": "Reading over HTTP",
    "thumbnails": "Thumbnails",
    "original": "Beside the original service",
    "memory": "Memory",
    "flags": "Choosing a provider by feature flags",
    "dispatching": "Dispatch and reconciliation",
}
"""By module of this package: each has `run(quick: bool) -> str`."""

RUN: Final = "import importlib, sys; print(importlib.import_module(sys.argv[1]).run(sys.argv[2] == 'quick'))"


def main() -> int:
    arguments = _arguments()
    names: list[str] = arguments.only or list(HEADINGS)
    page: Path | None = arguments.page or (None if arguments.quick else PAGE)
    failed = [name for name in names if not _measured(name, page, quick=arguments.quick)]
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs, printed; the page is left as it is")
    parser.add_argument("--page", type=Path, help=f"written to in place of {PAGE.relative_to(ROOT)}, also with --quick")
    parser.add_argument("--only", type=_names, metavar="NAMES", help=f"some of {','.join(HEADINGS)}")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in HEADINGS]:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(HEADINGS)}")
    return names


def _measured(name: str, page: Path | None, *, quick: bool) -> bool:
    """Runs one section and prints it, or writes it to the page at once: a later one that fails takes nothing away."""
    began, circumstances = time.monotonic(), conditions(_command(name, quick=quick))
    say(f"{name} ...")
    text = _run(name, quick=quick)
    say(f"{name}: {'measured' if text else 'FAILED'} in {time.monotonic() - began:.0f} s")
    if not text:
        return False
    section = f"{circumstances}\n\n{text.strip()}"
    if page is None:
        print(f"{HEADING}{HEADINGS[name]}\n\n{section}\n", flush=True)
    else:
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        page.write_text(replaced(before, {HEADINGS[name]: section}, list(HEADINGS.values())), encoding="utf-8")
    return True


def _run(name: str, *, quick: bool) -> str:
    """In a process of its own: nothing that one section did to its process can tell on the next."""
    command = [sys.executable, "-c", RUN, f"tests.bench.{name}", "quick" if quick else "full"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return "" if done.returncode else done.stdout


def _command(name: str, *, quick: bool) -> str:
    return f'make bench ARGS="--only {name}{" --quick" if quick else ""}"'


if __name__ == "__main__":
    sys.exit(main())
