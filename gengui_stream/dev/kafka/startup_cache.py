"""What makes a broker start soon, made once for each Java and lock: a formatted data directory to copy, and the JVM's
ahead-of-time cache, which has the broker's classes loaded and linked (JEP 483)."""

import hashlib
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gengui_stream.dev.child import Child
from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.jars import LOCK
from gengui_stream.dev.kafka.java import OPTIONS, Java, environ, release
from gengui_stream.dev.kafka.properties import PROPERTIES
from gengui_stream.dev.ports import free_port
from gengui_stream.errors import TransientError

SUMS: Final = "SHA256SUMS"
AOT_CACHE: Final = "broker.aot"
CREATED_WITHIN_S: Final = 120.0
"""From the end of the training run on: the JVM writes the cache then."""


def key() -> str:
    """Names everything that the content depends on."""
    parts = (LOCK.read_text(), release(), sysconfig.get_platform(), *OPTIONS, PROPERTIES)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class StartupCache:
    """A directory in the user's cache, whole or absent. Its files are compared with their hashes before every use."""

    def __init__(self, parent: Path) -> None:
        self.directory = parent / f"startup-{key()}"

    @property
    def template(self) -> Path:
        return self.directory / "template"

    @property
    def aot_cache(self) -> Path | None:
        """None where the JVM could not make one."""
        path = self.directory / AOT_CACHE
        return path if path.exists() else None

    def is_good(self) -> bool:
        """Blocking: some 65 MB are hashed."""
        try:
            return (self.directory / SUMS).read_text() == sums(self.directory)
        except OSError:
            return False

    async def make(self, class_path: str, say: Callable[[str], None]) -> None:
        """One process at a time. Raises what a start of the broker raises; without room for the AOT cache, or when the
        JVM refuses it, there is none, and `say` is told."""
        fresh = self.directory.with_name(f"{self.directory.name}.new")
        for old in (fresh, self.directory):
            shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir(parents=True)
        await _train(fresh, class_path, say)
        (fresh / SUMS).write_text(sums(fresh))
        fresh.replace(self.directory)


def sums(directory: Path) -> str:
    """As `sha256sum` writes it, of every file below but the list itself."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{_sha256(path)}  {path.relative_to(directory)}\n" for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _train(directory: Path, class_path: str, say: Callable[[str], None]) -> None:
    """A broker is formatted, started and ended; the JVM writes down what it loaded."""
    run, cache = directory / "run", directory / AOT_CACHE
    child = Child("kafka-training", run / "broker.log")
    broker = Broker(child, DataDirectory(run), free_port(), Java(class_path), (f"-XX:AOTCacheOutput={cache}",))
    run.mkdir()
    await broker.format_directory(directory / "template")
    try:
        await broker.start(directory / "template")
    except TransientError:
        pass  # without a reason of its own: what ails the broker itself, its next start tells
    finally:
        await child.stop(grace_s=CREATED_WITHIN_S)
    if not await _is_usable(cache, class_path, child.log):
        _discard(directory)
        say("Java made no cache of the broker's classes: starts take some seconds longer")
        say(child.log_tail())
    shutil.rmtree(run)


async def _is_usable(cache: Path, class_path: str, log: Path) -> bool:
    """Whether there is one and Java takes it: what it takes no more later, it passes over by itself."""
    probe = Child("java", log)
    command = Java(class_path, cache).command("-version", options=("-XX:AOTMode=on",))
    probe.start(command, environ=environ())
    try:
        await probe.ended()
    finally:
        await probe.stop()
    return probe.exit_code == 0


def _discard(directory: Path) -> None:
    for half_made in directory.glob(f"{AOT_CACHE}*"):
        half_made.unlink()
