"""Apache Kafka on this machine: fetched from Maven Central once, checked before every start, kept in the user's cache.

`python -m gengui_stream.dev.kafka.installation` fetches it for later starts without a network.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

import platformdirs

from gengui_stream.dev.kafka.jar_cache import JarCache, Repository, write_errors
from gengui_stream.dev.kafka.jars import Jar, broker_version, locked_jars
from gengui_stream.dev.kafka.java import Java
from gengui_stream.dev.kafka.startup_cache import StartupCache
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Installation:
    """`template`: a formatted data directory to copy, if there is one."""

    version: str
    java: Java
    template: Path | None


def cache_directory() -> Path:
    """Raises ConfigurationError for a user without a home directory."""
    try:
        return platformdirs.user_cache_path("gengui-stream") / "kafka"
    except RuntimeError as error:
        raise ConfigurationError(
            ["XDG_CACHE_HOME: this user has no home directory to keep Apache Kafka in: set it to a directory for that"]
        ) from error


async def install(
    say: Callable[[str], None],
    directory: Path | None = None,
    repository: Repository | None = None,
    jars: Sequence[Jar] | None = None,
) -> Installation:
    """The files for a start, from the cache. Missing or damaged files are created again first; other processes wait
    meanwhile. Raises RepositoryUnavailableError, TransientError or ConfigurationError with the reason in a line.

    By default: the user's cache, Maven Central, the locked jars.
    """
    directory = directory or cache_directory()
    jars = jars or locked_jars()
    cache, startup = JarCache(directory / "jars"), StartupCache(directory)
    class_path = cache.class_path(jars)
    missing, good = await asyncio.gather(asyncio.to_thread(cache.missing, jars), asyncio.to_thread(startup.is_good))
    if missing:
        with write_errors(directory, sum(jar.size for jar in missing)):
            async with _exclusive(directory, say):
                await _fetch(cache, jars, repository)
    if not good and not await _make(startup, directory, class_path, say):
        return Installation(broker_version(jars), Java(class_path), None)
    return Installation(broker_version(jars), Java(class_path, startup.aot_cache), startup.template)


@asynccontextmanager
async def _exclusive(directory: Path, say: Callable[[str], None]) -> AsyncIterator[None]:
    """One process at a time changes the directory. Raises OSError when it cannot be written."""
    from filelock import FileLock  # takes long, and most starts change nothing

    lock = FileLock(directory / "lock", timeout=0, thread_local=False)
    if not _acquired(lock):
        say(f"another process prepares Apache Kafka in {directory}: waiting for it ...")
        while not _acquired(lock):  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_EVERY_S)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: "BaseFileLock") -> bool:
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout:
        return False
    return True


async def _fetch(cache: JarCache, jars: Sequence[Jar], repository: Repository | None) -> None:
    """Fetches the files that no other process has fetched meanwhile."""
    cancelled = Event()
    try:
        await asyncio.to_thread(_fetch_blocking, cache, jars, repository, cancelled)
    finally:
        cancelled.set()  # the thread ends soon afterwards


def _fetch_blocking(cache: JarCache, jars: Sequence[Jar], repository: Repository | None, cancelled: Event) -> None:
    # Its HTTP client takes a third of a second to import, and most starts fetch nothing.
    from gengui_stream.dev.kafka.fetch_progress import fetch_progress
    from gengui_stream.dev.kafka.maven_central import MavenCentral

    if missing := cache.missing(jars):
        with fetch_progress(broker_version(jars), len(missing), sum(jar.size for jar in missing)) as received:
            cache.fetch(missing, repository or MavenCentral(), cancelled, received)


async def _make(startup: StartupCache, directory: Path, class_path: str, say: Callable[[str], None]) -> bool:
    """Whether it could be created; the broker starts without it, but more slowly."""
    try:
        async with _exclusive(directory, say):
            if not await asyncio.to_thread(startup.is_good):
                say("preparing Apache Kafka's first start, once: some 12 s ...")
                await startup.make(class_path, say)
    except (OSError, TransientError) as error:
        say(f"every start of Apache Kafka takes some seconds longer; nothing was kept in {directory}: {error}")
        return False
    return True


def main() -> int:
    """The exit code."""

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    try:
        asyncio.run(install(say))
    except ConfigurationError as error:
        say(str(error))
        return ExitCode.CONFIGURATION
    except TransientError as error:
        say(str(error))
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
