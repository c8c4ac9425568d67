"""The command that publishes the schemas, and finds those that are stale."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import schemas

ROOT: Final = Path(schemas.__file__).parents[1]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A copy of the language, for changes."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    return tmp_path / "schemas"


def publish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "schemas.publish", *arguments],
        cwd=folder.parent,
        env={"PYTHONPATH": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stale_a_missing_and_a_left_over_file_fail_the_check_until_they_are_published(elsewhere: Path) -> None:
    """`make check` runs this command."""
    events = elsewhere / "published" / "events"
    source = (elsewhere / "events.py").read_text()
    (elsewhere / "events.py").write_text(source.replace("provider_job_id: Name | None = None", "provider_job_id: Name"))
    (events / "generation.failed.json").unlink()
    (events / "generation.imagined.json").write_text("{}")
    checked = publish(elsewhere, "--check")
    named = sorted(Path(line.split(";")[0].removeprefix("stale: ")).name for line in checked.stderr.splitlines())
    assert checked.returncode == 1
    assert named == ["generation.dispatched.json", "generation.failed.json", "generation.imagined.json"]
    assert publish(elsewhere).returncode == 0
    assert publish(elsewhere, "--check").returncode == 0
    assert "provider_job_id" in json.loads((events / "generation.dispatched.json").read_text())["required"]
    assert not (events / "generation.imagined.json").exists()
