"""A fuzzer, and a worker over HTTP with jobs to take."""

import sys
from pathlib import Path

import pytest

from tests.integration.api.conformance.fuzzer import REQUESTS, Fuzzer
from tests.integration.api.workers.conftest import box, dispatching

__all__ = ["box", "dispatching", "fuzzer"]


@pytest.fixture
def fuzzer(request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Fuzzer:
    """In a long run it prints each step to the terminal."""

    def tell(line: str) -> None:
        if REQUESTS:
            with capfd.disabled():
                print(f"{request.node.name}: {line}", file=sys.stderr, flush=True)

    return Fuzzer(tmp_path, tell)
