"""The fixtures themselves."""

import asyncio
import sys
from pathlib import Path

import pytest

from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings

pytestmark = pytest.mark.stack


async def test_another_pytest_of_the_same_user_takes_nothing_away(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(tmp_path): pass")
    another = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await another.wait() == 0
    async with opened_pool(settings) as pool:
        await pool.execute("CHECKPOINT")
        assert await pool.fetchval("SELECT count(*) FROM projections.generation_requests") == 0
