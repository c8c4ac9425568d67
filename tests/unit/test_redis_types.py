"""Blocking on the shared client, or reading through a producer, does not type-check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAD = """
from redis.asyncio import Redis
from gengui_stream.redis_io.streams import BlockingConsumer, ConsumerStreams, ProducerStreams
from gengui_stream.settings import Settings

async def use(redis: Redis, settings: Settings) -> None:
    producer = ProducerStreams(redis)
    consumer = ConsumerStreams(redis, "s", "g", "me")
    blocking = BlockingConsumer(settings, "s", "g", "me", longest_wait_s=1)
"""

PROPER = (
    HEAD
    + """
    await producer.add("s", {"a": "1"})
    await consumer.read_new(1)
    await blocking.wait_for_new(1)
    await blocking.ack(["1-0"])
"""
)

MISUSES = {
    "await producer.read_new(1)": '"ProducerStreams" has no attribute "read_new"',
    "await producer.wait_for_new(1)": '"ProducerStreams" has no attribute "wait_for_new"',
    "await consumer.wait_for_new(1)": '"ConsumerStreams" has no attribute "wait_for_new"',
    'await consumer.add("s", {"a": "1"})': '"ConsumerStreams" has no attribute "add"',
    'BlockingConsumer(redis, "s", "g", "me", longest_wait_s=1)': 'incompatible type "Redis"; expected "Settings"',
    'await producer.add("s", {"a": 1})': 'expected "str": "str"',
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the type checker says to each snippet; all of them in one run, which takes seconds."""
    folder = tmp_path_factory.mktemp("snippets")
    snippets = {"proper": PROPER} | {f"misuse_{i}": f"{HEAD}    {line}\n" for i, line in enumerate(MISUSES)}
    for name, text in snippets.items():
        (folder / f"{name}.py").write_text(text)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *sorted(map(str, folder.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    said: dict[str, list[str]] = {name: [] for name in snippets}
    for line in run.stdout.splitlines():
        said[Path(line.split(":")[0]).stem].append(line)
    return said


def test_proper_use_type_checks(complaints: dict[str, list[str]]) -> None:
    assert complaints["proper"] == []


@pytest.mark.parametrize(("index", "expected"), list(enumerate(MISUSES.values())), ids=list(MISUSES))
def test_misuse_does_not(complaints: dict[str, list[str]], index: int, expected: str) -> None:
    errors = complaints[f"misuse_{index}"]
    assert any(expected in error for error in errors), errors
