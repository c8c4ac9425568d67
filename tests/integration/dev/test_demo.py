"""The demo as a process: its output, its end, and no files left behind."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.http_sink import ExportedSpan, http_sink

pytestmark = pytest.mark.usefixtures("apache_kafka")

KEYS = [
    "generations",
    "completed",
    "thumbnails",
    "events",
    "applied",
    "ignored",
    "dead_lettered",
    "submit_to_completed_ms",
    "publish_to_visible_ms",
    "seconds",
]

TRACED = {"api", "agents", "dispatch", "worker", "thumbnails"}


def traced_roles(spans: Sequence[ExportedSpan]) -> list[set[str]]:
    """The roles in the trace of each request for a generation. A transaction of the agents is in the trace of one of
    its generations, and linked to those of the others."""
    traces = [span.trace_id for span in spans if span.name == "POST /v1/generations"]
    return [
        {span.resource["gengui.role"] for span in spans if trace in {span.trace_id, *span.links}} for trace in traces
    ]


class Demo:
    """Everything that it starts inherits a variable by which it is found, and a directory for temporary files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sheet = directory.parent / "sheets" / "sheet.png"
        self._mark = f"GENGUI_TEST_DEMO={uuid.uuid4()}"

    @asynccontextmanager
    async def started(self, *arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        name, _, value = self._mark.partition("=")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gengui_stream.cli", "demo", "--output", str(self.sheet), *arguments),
            env={**os.environ, name: value, "TMPDIR": str(self.directory), "WORKER_CONCURRENCY": "2", **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def left(self) -> list[str]:
        """Files, and command lines of processes."""
        return [*map(str, self.directory.iterdir()), *self._processes()]

    def _processes(self) -> Iterator[str]:
        name, _, value = self._mark.partition("=")
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # ended meanwhile, or not ours to read
                if process.environ().get(name) == value:
                    yield " ".join(process.cmdline())


@pytest.fixture
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory() as name:
        inner = Path(name) / "tmp"
        inner.mkdir()
        yield Demo(inner)


async def test_it_makes_everything_and_reports_it_in_one_line_of_json(demo: Demo) -> None:
    with http_sink() as collector:
        async with demo.started("--count", "3", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as process:
            out, err = await process.communicate()
        spans = collector.spans()
    assert process.returncode == 0, err.decode()
    found = json.loads(out.decode().splitlines()[-1])
    assert list(found) == KEYS
    assert (found["generations"], found["completed"], found["thumbnails"]) == (3, 3, 3)
    assert found["applied"] + found["ignored"] + found["dead_lettered"] == found["events"]
    assert found["dead_lettered"] == 0
    for name in ("submit_to_completed_ms", "publish_to_visible_ms"):
        assert list(found[name]) == ["p50", "p99"]
        assert 0 < found[name]["p50"] <= found[name]["p99"]
    with Image.open(demo.sheet) as sheet:
        assert sheet.width > 3 * 128
    assert demo.left() == []
    assert traced_roles(spans) == [TRACED] * 3


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGHUP])
async def test_interrupted_it_leaves_nothing(demo: Demo, sign: signal.Signals) -> None:
    async with demo.started("--count", "50") as process:
        assert process.stderr is not None
        said = b""
        while b"roles" not in (line := await process.stderr.readline()):
            said += line
            assert line, said.decode()
        process.send_signal(sign)
        rest = await process.stderr.read()
        assert await process.wait() == 130, rest.decode()
    assert b"interrupted" in rest
    assert demo.left() == []


async def test_a_place_where_nothing_can_be_written_is_refused_before_anything_starts(demo: Demo) -> None:
    demo.sheet.mkdir(parents=True)
    async with demo.started() as process:
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert str(demo.sheet) in err.decode()
    assert "starting" not in err.decode()
    assert "Traceback" not in err.decode()
