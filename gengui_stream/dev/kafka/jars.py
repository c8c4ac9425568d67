"""The jars of the embedded broker, as `jars.lock` names them: no other file is loaded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gengui_stream.errors import BugError

LOCK: Final = Path(__file__).with_name("jars.lock")
LINE: Final = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) (?P<size>[1-9]\d*) (?P<group>[\w.-]+):(?P<artifact>[\w.-]+):(?P<version>\w[\w.-]*)",
    re.ASCII,
)
BROKER: Final = "kafka_2.13"
"""The artifact whose version is that of the broker."""


@dataclass(frozen=True, slots=True)
class Jar:
    """`size` in bytes."""

    sha256: str
    size: int
    group: str
    artifact: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def parse_lock(text: str) -> tuple[Jar, ...]:
    """In the order of the text, which is the order of the class path. Raises BugError on a line that is none, and on
    two jars of one file name."""
    jars = tuple(_parse_line(line) for line in text.splitlines() if line and not line.startswith("#"))
    names = [jar.name for jar in jars]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BugError(f"jars.lock names two files {twice[0]}")
    return jars


def _parse_line(line: str) -> Jar:
    found = LINE.fullmatch(line)
    if found is None:
        raise BugError(f"jars.lock: {line!r} is not `sha256 bytes group:artifact:version`")
    return Jar(found["sha256"], int(found["size"]), found["group"], found["artifact"], found["version"])


@cache
def locked_jars() -> tuple[Jar, ...]:
    return parse_lock(LOCK.read_text())


def broker_version(jars: Sequence[Jar]) -> str:
    return next(jar.version for jar in jars if jar.artifact == BROKER)
