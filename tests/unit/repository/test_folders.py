"""The size of folders and modules: a reader finds a module by the names in one folder, and reads it at once."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
MODULES_MAX: Final = 12
LINES_MAX: Final = 300


def modules_of(folder: str) -> Counter[Path]:
    """The number of modules in each folder, without `__init__.py`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", f"{folder}/*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    paths = [Path(name) for name in listed if (ROOT / name).exists()]
    return Counter(path.parent for path in paths if path.name != "__init__.py")


def test_no_module_is_too_long() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in set(listed) if (ROOT / name).exists()}
    assert len(lines) > 100
    assert {name: number for name, number in lines.items() if number > LINES_MAX} == {}


def test_no_folder_has_too_many_modules() -> None:
    folders = [modules_of(folder) for folder in ("schemas", "gengui_stream", "agents", "api", "tests")]
    assert all(folders)
    assert {path: number for counts in folders for path, number in counts.items() if number > MODULES_MAX} == {}
