"""One system for all tests that leave it whole; a test that breaks it gets the next one a fresh one."""

import asyncio
import os
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.system import DevSystem

SEED_NAME = "GENGUI_FAULTS_SEED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults/" in item.path.as_posix():
            item.add_marker("faults")
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same for the same seed, which is said when the test fails."""
    seed = os.environ.get(SEED_NAME) or str(random.randrange(2**32))
    print(f"to replay: {SEED_NAME}={seed}")
    return random.Random(f"{seed}/{request.node.name}")


class Systems:
    """Starts one when there is none, or when the last one was broken."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._numbers = directory, count()
        self._running: DevSystem | None = None

    def whole(self) -> DevSystem:
        if self._running is not None and (self._running.broken or not self._running.alive):
            self.close()
        if self._running is None:
            own = self._directory / str(next(self._numbers))
            own.mkdir()
            self._running = DevSystem(own)
            asyncio.run(self._running.start())
        return self._running

    def close(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            asyncio.run(running.stop())


@pytest.fixture(scope="session")
def systems() -> Iterator[Systems]:
    with TemporaryDirectory(prefix="gengui-faults-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)  # as root, PostgreSQL runs as `nobody`
        made = Systems(Path(name))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def system(systems: Systems) -> DevSystem:
    return systems.whole()
