"""The jars on this machine: kept in one directory, and each compared with its hash in the lock before every use."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final, Protocol

from gengui_stream.dev.kafka.jars import Jar
from gengui_stream.errors import ConfigurationError, TransientError

THREADS: Final = 8
ATTEMPTS: Final = 3
PAUSE_S: Final = 0.5
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MODIFIED_AT: Final = 1_000_000_000
"""Every jar's file time, Unix seconds: the JVM refuses an AOT cache that was made when a jar had another one."""


class RepositoryUnavailableError(TransientError):
    """The repository cannot be reached."""


class Repository(Protocol):
    def chunks(self, jar: Jar, cancelled: Event) -> Iterator[bytes]:
        """The file, or the body that the server sent instead. Raises RepositoryUnavailableError, and TransientError
        once `cancelled` is set. May be called by several threads."""
        ...


class JarCache:
    """Blocking: call it in a thread. One process at a time may fetch into a directory; any number may read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, jar: Jar) -> Path:
        return self._directory / jar.name

    def class_path(self, jars: Sequence[Jar]) -> str:
        """Only the named files, whatever else is in the directory."""
        return os.pathsep.join(str(self.path(jar)) for jar in jars)

    def missing(self, jars: Sequence[Jar]) -> list[Jar]:
        """The jars that differ from the lock: absent, incomplete or changed."""
        with ThreadPoolExecutor(THREADS) as pool:
            return [jar for jar, good in zip(jars, pool.map(self._is_good, jars), strict=True) if not good]

    def _is_good(self, jar: Jar) -> bool:
        try:
            with self.path(jar).open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_size != jar.size or hashlib.file_digest(file, "sha256").hexdigest() != jar.sha256:
                    return False
        except OSError:
            return False
        if found.st_mtime != MODIFIED_AT:
            with suppress(OSError):  # not ours: the JVM starts without its AOT cache
                os.utime(self.path(jar), (MODIFIED_AT, MODIFIED_AT))
        return True

    def fetch(
        self, jars: Sequence[Jar], repository: Repository, cancelled: Event, received: Callable[[int], None]
    ) -> None:
        """All of them, or raises: RepositoryUnavailableError; TransientError when a file is not the locked one; OSError
        when it cannot be written. Complete jars stay, others are removed. `received` gets numbers of bytes, negative
        ones for what has to be fetched again."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for abandoned in self._directory.glob(".*.part"):
            abandoned.unlink()
        self._fetch_all(jars, repository, cancelled, received)

    def _fetch_all(
        self, jars: Sequence[Jar], repository: Repository, cancelled: Event, received: Callable[[int], None]
    ) -> None:
        largest_first = sorted(jars, key=lambda jar: -jar.size)
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(self._fetch, jar, repository, cancelled, received) for jar in largest_first]
            done, pending = wait(futures, return_when=FIRST_EXCEPTION)
            if pending:
                cancelled.set()
            for future in [*done, *pending]:
                future.result()

    def _fetch(self, jar: Jar, repository: Repository, cancelled: Event, received: Callable[[int], None]) -> None:
        part = self._directory / f".{jar.name}.part"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._write(jar, part, repository.chunks(jar, cancelled), received)
                os.utime(part, (MODIFIED_AT, MODIFIED_AT))
                part.replace(self.path(jar))
            except RepositoryUnavailableError:
                if attempt == ATTEMPTS or cancelled.wait(PAUSE_S * attempt):
                    raise
            else:
                return
            finally:
                part.unlink(missing_ok=True)

    def _write(self, jar: Jar, part: Path, chunks: Iterator[bytes], received: Callable[[int], None]) -> None:
        """Raises TransientError when it is not the locked file."""
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    received(len(chunk))
            _check(jar, digest.hexdigest())
        except BaseException:
            received(-size)
            raise


def _check(jar: Jar, sha256: str) -> None:
    if sha256 != jar.sha256:
        raise TransientError(
            f"what the network gave as {jar} is not the file of that SHA-256 in jars.lock, and was not kept: a proxy "
            "or a sign-in page may have answered in place of Maven Central"
        )


@contextmanager
def write_errors(directory: Path, needed: int) -> Iterator[None]:
    """A full disk is a TransientError with the bytes `needed`, a read-only directory a
    ConfigurationError; both have a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise TransientError(
                f"no room in {directory}: Apache Kafka needs {needed:,} bytes there ({error.strerror}); free them, "
                "or set XDG_CACHE_HOME to a directory with room"
            ) from error
        raise ConfigurationError(
            [
                f"XDG_CACHE_HOME: {directory}, where Apache Kafka is kept, cannot be written ({error.strerror}); "
                "set it to a directory that can"
            ]
        ) from error
