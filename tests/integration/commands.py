"""`gengui-stream` as a user runs it: as a process in an empty directory."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gengui_stream.dev.forks.client import SUPPORTED
from gengui_stream.dev.processes.child import Process
from gengui_stream.settings import Settings
from tests.integration.command_server import errors_beside
from tests.integration.forking import fork_server
from tests.integration.role_process import environment
from tests.integration.running import eventually

SECRETS: Final = ("AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "KAFKA_SASL_PASSWORD", "WORKER_API_KEY")
WITHIN_S: Final = 45.0


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


async def command(
    settings: Settings | Mapping[str, str], *arguments: str, until: str | None = None, new_process: bool = False
) -> Ran:
    """Runs it to its end; or, once it has printed `until`, to Ctrl-C. `new_process`: in a new Python process and not
    in a fork of one that has imported the package."""
    given = environment(settings) if isinstance(settings, Settings) else dict(settings)
    with tempfile.TemporaryDirectory() as nowhere, tempfile.TemporaryDirectory() as outputs:
        output = Path(outputs, "command.out")
        for file in (output, errors_beside(output)):
            file.touch()
        start = (arguments, {**given, "COLUMNS": "200"}, Path(nowhere), output)
        process = _started(*start) if new_process or not SUPPORTED else await _forked(*start)
        try:
            ran = await _finished(process, output, until)
        finally:
            process.kill()
    for name in SECRETS:
        secret = given.get(name)
        assert not secret or secret not in ran.out + ran.err, f"{name} is in what {arguments} printed"
    assert "Traceback" not in ran.err + ran.out, ran.err
    return ran


def _started(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, output: Path) -> Process:
    with output.open("ab") as out, errors_beside(output).open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "gengui_stream.cli", *arguments],
            env=environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )


async def _forked(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, output: Path) -> Process:
    return await fork_server().fork("gengui-stream", arguments, environ=environ, cwd=cwd, log=output)


async def _finished(process: Process, output: Path, until: str | None) -> Ran:
    async def said() -> bool:
        assert process.poll() is None, f"it ended before it said {until!r}: {_ran(process, output)}"
        return until is not None and until in _text(output)

    async def ended() -> bool:
        return process.poll() is not None

    if until is not None:
        await eventually(said, within_s=WITHIN_S)
        process.send_signal(signal.SIGINT)
    try:
        await eventually(ended, within_s=WITHIN_S)
    except AssertionError as error:
        error.add_note(f"it printed {_text(output)!r} and {_text(errors_beside(output))!r}")
        raise
    return _ran(process, output)


def _text(output: Path) -> str:
    return output.read_text()


def _ran(process: Process, output: Path) -> Ran:
    code = process.poll()
    assert code is not None
    return Ran(code, _text(output), _text(errors_beside(output)))
