"""The programs in docs/workers.md, run as printed: each takes a job to its picture, and stops a canceled one."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gengui_stream.bridge.run import run_bridge
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.workers.job_worker import reaches
from tests.integration.role_process import environment
from tests.integration.running import eventually, running

pytestmark = pytest.mark.stack

PAGE = (Path(__file__).parents[4] / "docs" / "workers.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^## (\w+)\n.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def started(program: str, settings: Settings, worker: Client, folder: Path) -> AsyncIterator[None]:
    file = folder / "my_worker.py"
    file.write_text(program, encoding="utf-8")
    given = {**environment(settings), "API": worker.base, "WORKER_KEY": worker.key}
    process = await asyncio.create_subprocess_exec(sys.executable, file, env=given, cwd=folder)
    try:
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_there_is_a_program_for_each_way() -> None:
    assert [name for name, _ in PROGRAMS] == ["HTTP", "Redis", "Kafka"]


@pytest.mark.parametrize("program", [pytest.param(program, id=name) for name, program in PROGRAMS])
async def test_a_documented_worker_makes_a_picture_and_stops_when_it_is_canceled(
    program: str, settings: Settings, user: Client, worker: Client, tmp_path: Path
) -> None:
    async with (
        running(run_dispatch, settings),
        running(run_bridge, settings),
        started(program, settings, worker, tmp_path),
    ):
        made = await user.created(width=256, height=320)
        found = await reaches(user, made, "completed")
        [output] = found["outputs"]
        async with user.session.get(output["url"]) as answer:
            body = await answer.read()
        assert (answer.status, answer.content_type, body[:8]) == (200, "image/png", b"\x89PNG\r\n\x1a\n")
        canceled = await user.created(width=256, height=256)
        await eventually(partial(_works, user, canceled))
        await user.call("POST", f"/v1/generations/{canceled}/cancel")
        await reaches(user, canceled, "canceled")
        after = await user.created(width=256, height=256)
        await reaches(user, after, "completed")


async def _works(user: Client, generation_id: str) -> bool:
    return bool((await user.get(f"/v1/generations/{generation_id}"))["status"] == "processing")
