"""Child processes end with a killed parent, with and without support by the kernel, and announce that they are
ready."""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from gengui_stream.dev.processes.child import Child
from tests.integration.running import eventually

SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]
ANNOUNCING = [
    *(sys.executable, "-c"),
    "import time; from gengui_stream.process.ready_file import announce_ready; announce_ready(); time.sleep(600)",
]
GUARDIAN = [sys.executable, "-m", "gengui_stream.dev.processes.guardian"]

PARENT = """
import sys, time
from pathlib import Path
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.processes.parent_death import Guardian

before_exec = Guardian().enroll if sys.argv[1] == "guardian" else None
for number in range(3):
    child = Child(str(number), Path(sys.argv[2], f"{number}.log"), before_exec=before_exec)
    child.start([sys.executable, "-c", "import time; time.sleep(600)"])
    if number == 0:
        child._process.kill()
        child._process.wait()
Path(sys.argv[2], "started").touch()
time.sleep(600)
"""


@pytest.mark.parametrize("way", ["kernel", "guardian"])
async def test_children_end_with_a_parent_that_is_killed(tmp_path: Path, way: str) -> None:
    if way == "kernel" and sys.platform != "linux":
        pytest.skip("only the kernel of Linux does it")
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, way, str(tmp_path))
    children = []
    try:
        await eventually(partial(asyncio.to_thread, (tmp_path / "started").exists))
        children = psutil.Process(parent.pid).children()
        assert len(children) == (3 if way == "guardian" else 2)
    finally:
        parent.kill()
        await parent.wait()
    await eventually(partial(asyncio.to_thread, _ended, children))


def _ended(processes: list[psutil.Process]) -> bool:
    """A container's first process may leave zombies."""
    return not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def test_a_guardian_passes_over_a_child_that_has_ended() -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    child = await asyncio.create_subprocess_exec(*SLEEPING)
    guardian = await asyncio.create_subprocess_exec(*GUARDIAN, stdin=asyncio.subprocess.PIPE)
    await guardian.communicate(f"{ended.pid}\n{child.pid}\n".encode())
    assert (guardian.returncode, await child.wait()) == (0, -signal.SIGKILL)


async def test_a_child_is_ready_once_it_announces_it(tmp_path: Path) -> None:
    child = Child("child", tmp_path / "child.log")
    child.start(ANNOUNCING, environ={**os.environ, **child.readiness_environ()})
    await eventually(partial(asyncio.to_thread, lambda: child.announced_ready))
    await child.stop()
    assert not child.announced_ready
    child.start(SLEEPING, environ={**os.environ, **child.readiness_environ()})
    assert not child.announced_ready, "that was the one before"
    await child.stop()
