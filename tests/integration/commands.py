"""`gengui-stream` as a user runs it: as a process in an empty directory."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import environment

SECRETS: Final = ("AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "KAFKA_SASL_PASSWORD", "WORKER_API_KEY")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The words of each row of the table that it printed."""
        lines = self.out.splitlines()
        under = next(number for number, line in enumerate(lines) if line.strip().startswith("──"))
        return [line.split() for line in lines[under + 1 :] if line.strip()]

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


async def command(settings: Settings | Mapping[str, str], *arguments: str, until: str | None = None) -> Ran:
    """Runs it to its end; or, once it has said `until`, to Ctrl-C."""
    given = environment(settings) if isinstance(settings, Settings) else dict(settings)
    with tempfile.TemporaryDirectory() as nowhere:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gengui_stream.cli", *arguments),
            env={**given, "COLUMNS": "200"},
            cwd=nowhere,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(45):
                ran = await _finished(process, until)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    for name in SECRETS:
        secret = given.get(name)
        assert not secret or secret not in ran.out + ran.err, f"{name} is in what {arguments} printed"
    assert "Traceback" not in ran.err + ran.out, ran.err
    return ran


async def _finished(process: asyncio.subprocess.Process, until: str | None) -> Ran:
    assert process.stdout is not None
    early = b""
    while until is not None and until.encode() not in early:
        line = await process.stdout.readline()
        assert line, f"it ended before it said {until!r}: {early!r}, {await _rest(process)!r}"
        early += line
    if until is not None:
        process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, (early + out).decode(), err.decode())


async def _rest(process: asyncio.subprocess.Process) -> bytes:
    return (await process.communicate())[1]
