"""The fork server: a forked process behaves like any other, and ends with the server."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from gengui_stream.dev.forks.client import SUPPORTED, ForkServer
from gengui_stream.dev.processes.child import Child
from gengui_stream.errors import TransientError
from tests.integration.running import eventually

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="roles are forked on Linux alone")

NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0", "METRICS_PORT": "0"}
"""Servers for which a role waits."""


@pytest_asyncio.fixture
async def forks() -> AsyncIterator[ForkServer]:
    server = ForkServer()
    server.start()
    yield server
    await server.stop()


async def forked(server: ForkServer, directory: Path, *arguments: str, **environ: str) -> Child:
    child = Child(arguments[0], directory / f"{arguments[0]}.log")
    whole = {**os.environ, **environ, **child.readiness_environ()}
    child.follow(await server.fork(child.name, arguments, environ=whole, cwd=directory, log=child.log))
    return child


async def works(child: Child) -> bool:
    child.check_alive()
    return child.announced_ready


def runs(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def shown(pid: int | None, file: str) -> str:
    """As proc(5) has it."""
    return Path(f"/proc/{pid}/{file}").read_text().strip()


async def gone(pid: int | None) -> bool:
    return not runs(pid)


async def test_a_command_has_its_own_environment_directory_and_output(forks: ForkServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=4321\n")
    valid = await forked(forks, tmp_path, "config", "show", "--json", S3_BUCKET="of-its-own")
    refused = await forked(forks, tmp_path, "bridge", PORT="70000")
    for child in (valid, refused):
        await asyncio.wait_for(child.ended(), 20)
    assert (valid.exit_code, refused.exit_code) == (0, 78)
    assert '"of-its-own"' in valid.log.read_text()
    assert "4321" in valid.log.read_text()
    assert "PORT" in refused.log.read_text()


async def test_a_role_has_a_session_and_a_name_and_takes_signals(forks: ForkServer, tmp_path: Path) -> None:
    role = await forked(forks, tmp_path, "bridge", **NOWHERE)
    await eventually(partial(works, role))
    assert role.pid is not None
    assert os.getsid(role.pid) == role.pid
    assert shown(role.pid, "comm") == "bridge"
    await role.stop()
    assert role.exit_code == 0
    assert '"code": 0' in role.log_tail()
    another = await forked(forks, tmp_path, "bridge", **NOWHERE)
    await eventually(partial(works, another))
    await another.stop(how=signal.SIGKILL)
    assert another.exit_code == -signal.SIGKILL


async def test_the_server_has_one_thread(forks: ForkServer, tmp_path: Path) -> None:
    await forked(forks, tmp_path, "config", "check")
    assert "\nThreads:\t1\n" in shown(forks.pid, "status")


async def test_the_servers_end_is_the_end_of_what_it_forked(forks: ForkServer, tmp_path: Path) -> None:
    role = await forked(forks, tmp_path, "bridge", **NOWHERE)
    await eventually(partial(works, role))
    assert forks.pid is not None
    os.kill(forks.pid, signal.SIGKILL)
    await asyncio.wait_for(role.ended(), 20)
    assert role.exit_code == -signal.SIGKILL
    await eventually(partial(gone, role.pid))
    with pytest.raises(TransientError):
        await forked(forks, tmp_path, "bridge", **NOWHERE)


SPLITTING = """
import asyncio, os, tempfile
from pathlib import Path
from gengui_stream.cli.fork_server import split_off_fork_server
from gengui_stream.dev.processes.child import Child

async def main(server, directory):
    child = Child("config", directory / "config.log")
    child.follow(await server.fork("config", ["config", "check"], environ=os.environ, cwd=directory, log=child.log))
    await child.ended()
    print(child.exit_code, directory.exists(), len(os.listdir(f"/proc/{server.pid}/task")))
    files = [Path(f"/proc/{server.pid}/fd/{number}").readlink() for number in os.listdir(f"/proc/{server.pid}/fd")]
    await server.stop()
    print(opened in files)

with tempfile.TemporaryDirectory() as name, open(Path(name, "file"), "w"):
    opened = Path(name, "file").resolve()
    asyncio.run(main(split_off_fork_server(), Path(name)))
"""


async def test_what_a_process_split_off_leaves_the_files_of_that_process_alone(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SPLITTING, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().splitlines() == ["0 True 1", "False"]


STARTED = "from gengui_stream.dev.forks.client import started_fork_server as fork_server"
SPLIT_OFF = "from gengui_stream.cli.fork_server import split_off_fork_server as fork_server"
FORKING = """
import asyncio, os, sys
from pathlib import Path

async def main(server):
    directory = Path(sys.argv[1])
    role = await server.fork("bridge", ["bridge"], environ=os.environ, cwd=directory, log=directory / "bridge.log")
    print(server.pid, role.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(fork_server()))
"""


@pytest.mark.parametrize("imported", [STARTED, SPLIT_OFF])
async def test_nothing_survives_the_process_that_started_the_server(imported: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{imported}{FORKING}", str(tmp_path)),
        env={**os.environ, **NOWHERE},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert len(pids) == 2
    process.kill()
    await process.wait()
    for pid in pids:
        await eventually(partial(gone, pid))
