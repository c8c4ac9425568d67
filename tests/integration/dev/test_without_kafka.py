"""The tests without Apache Kafka: they are skipped visibly, and fail in CI."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.dev.ports import free_port

pytestmark = pytest.mark.timeout(240)

ROOT: Final = Path(__file__).parents[3]
TWO_TESTS: Final = (
    "tests/integration/dev/test_kafka_server.py::test_two_servers_never_share_a_port",
    "tests/integration/dev/test_kafka_server.py::test_a_topic_is_made_by_request_alone",
)


def run_two_tests(cache: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """With an empty cache and a proxy that is not there."""
    unreachable = f"http://127.0.0.1:{free_port()}"
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *TWO_TESTS],
        cwd=ROOT,
        env={
            **inherited,
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), unreachable),
            "XDG_CACHE_HOME": str(cache),
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_they_are_skipped_and_the_last_lines_say_how_many_and_why(tmp_path: Path) -> None:
    ended = run_two_tests(tmp_path)
    assert ended.returncode == 0, ended.stdout
    said, total = ended.stdout.splitlines()[-2:]
    assert said.startswith("2 tests were not run. Apache Kafka is missing: Maven Central cannot be reached")
    assert "2 skipped" in total


def test_in_ci_they_fail_with_the_reason(tmp_path: Path) -> None:
    ended = run_two_tests(tmp_path, CI="true")
    assert ended.returncode == 1, ended.stdout
    assert "in CI no test is skipped: Maven Central cannot be reached" in ended.stdout
    assert "2 errors" in ended.stdout.splitlines()[-1]
