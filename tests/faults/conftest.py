"""One system for all tests that leave it intact; a test that breaks it is followed by a new system."""

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from gengui_stream.dev.postgres.data_directory import temporary_directory
from tests.faults.given import GivenSystem
from tests.faults.system import DevSystem

SEED_NAME = "GENGUI_FAULTS_SEED"
LOGS_NAME = "GENGUI_FAULTS_LOGS"
"""A directory that the logs of broken systems are copied to."""

S = TypeVar("S", bound=DevSystem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults/" in item.path.as_posix():
            item.add_marker("faults")
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same for the same seed, which a failed test prints."""
    seed = os.environ.get(SEED_NAME) or str(random.randrange(2**32))
    print(f"to replay: {SEED_NAME}={seed}")
    return random.Random(f"{seed}/{request.node.name}")


class Systems(Generic[S]):
    """Starts one when there is none, or when the last one was broken."""

    def __init__(self, directory: Path, make: Callable[[Path], S]) -> None:
        self._directory, self._numbers, self._make = directory, count(), make
        self._running: S | None = None

    def whole(self) -> S:
        if self._running is not None and (self._running.broken or not self._running.alive):
            self.close()
        if self._running is None:
            self._running = self.fresh()
            asyncio.run(self._running.start())
        return self._running

    def fresh(self) -> S:
        """Not started yet, with an empty directory. The test that starts it also stops it."""
        own = self._directory / str(next(self._numbers))
        own.mkdir()
        return self._make(own)

    def close(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            asyncio.run(running.stop())
            if running.broken and LOGS_NAME in os.environ:
                kept = Path(os.environ[LOGS_NAME]) / f"{self._directory.name}-{running.directory.name}"
                shutil.copytree(running.directory, kept, ignore=shutil.ignore_patterns("postgres", "seaweed", "valkey"))


def _systems(make: Callable[[Path], S]) -> Iterator[Systems[S]]:
    with temporary_directory("gengui-faults-") as directory:
        made = Systems(directory, make)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def systems(apache_kafka: None) -> Iterator[Systems[DevSystem]]:
    yield from _systems(DevSystem)


@pytest.fixture
def system(systems: Systems[DevSystem]) -> DevSystem:
    return systems.whole()


@pytest.fixture(scope="module")
def given_systems(apache_kafka: None) -> Iterator[Systems[GivenSystem]]:
    yield from _systems(GivenSystem)


@pytest.fixture
def given_system(given_systems: Systems[GivenSystem]) -> GivenSystem:
    return given_systems.whole()
