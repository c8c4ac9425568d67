"""`gengui-stream dev` with servers in its settings that are not there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.preparation import Preparation
from gengui_stream.dev.stack import Part
from gengui_stream.errors import TransientError
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.settings import load_settings

NOWHERE = {
    "DATABASE_URL": "postgresql://gengui:hunter2@127.0.0.1:1/gengui",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "hunter2-secret",
}


@contextmanager
def _dev(directory: Path, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gengui_stream.cli", "dev", "--no-reload"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PORT": str(free_port()), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_in_a_pipe_it_logs_json_of_its_own_while_it_waits(tmp_path: Path) -> None:
    lines: list[str] = []
    with _dev(tmp_path, NOWHERE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if all(f'"preparing {part}"' in "".join(lines) for part in ("postgres", "kafka")):
                break
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate()
    lines = [*map(str.rstrip, lines), *rest.splitlines()]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {(one["event"], one["role"]) for one in logged} == {("waiting", "dev")}
    assert all("127.0.0.1:1" in one["error"] for one in logged)
    said = [line for line in lines if not line.startswith("{") and " is set: " not in line]
    assert (process.returncode, out, said) == (0, "", ["starting the servers ...", "stopping ..."])
    assert "hunter2" not in "".join(lines)


async def test_a_server_that_does_not_come_is_named_with_the_reason(tmp_path: Path) -> None:
    preparation = Preparation(load_settings(NOWHERE, env_files=()), tmp_path / "keys.json", within_s=0.3)
    parts: Mapping[Part, str] = {"postgres": "PostgreSQL at 127.0.0.1:1/gengui: ", "kafka": "no broker at 127.0.0.1:1"}
    for part, words in parts.items():
        with pytest.raises(TransientError) as refused:
            await preparation.steps[part]()
        assert str(refused.value).startswith(f"not available within 0.3 s: {words}")


@pytest.mark.stack
def test_a_database_that_is_not_there_is_one_line(stack: Mapping[str, str], tmp_path: Path) -> None:
    environ = {**NOWHERE, "DATABASE_URL": stack["DATABASE_URL"] + "-not"}
    with _dev(tmp_path, environ) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (ExitCode.CONFIGURATION, ""), err
    assert err.splitlines()[-1].startswith("gengui-stream: DATABASE_URL or DB_*: database ")
    assert "Traceback" not in err
