"""The location of PostgreSQL's data: the stack's directory; for root another one, with a link in the stack's
directory."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gengui_stream.dev.postgres.root_directory import candidates, check_safe, locked, root_directory, server_user
from gengui_stream.errors import ConfigurationError

STATE: Final = Path("/var/lib")
OWNER: Final = "link"
"""The file that names the link which leads to the data."""

KEPT_S: Final = 7 * 86_400
"""How long after their last start data are kept whose checkout is not found: it was moved, or its disk is not
mounted."""


class DataDirectory:
    """At `path`, or where the link at `path` leads."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._lock: int | None = None

    def open(self) -> Path:
        """The directory for the data, which may not exist yet. For root it is protected from removal until `close`.
        Raises ConfigurationError for data of another user."""
        if server_user() is None:
            _check_ours(self._path)
            return self._path
        if self._path.exists() and not self._path.is_symlink():
            raise ConfigurationError([_not_ours(self._path)])
        root = root_directory(STATE)
        with locked(root):
            remove_unused(root)
            location = self._linked() or self._made(root)
            self.close()
            self._lock = _shared_lock(location)
        return location / "postgres"

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _linked(self) -> Path | None:
        """None for a link to nothing, to a foreign directory, or to the data of the original of a copied checkout."""
        location = _target(self._path)
        if location is None or location.parent not in candidates(STATE):
            return None
        owner = _owner(location)
        if owner is None or (owner != self._path and _target(owner) == location):
            return None
        _write_owner(location, self._path)
        return location

    def _made(self, root: Path) -> Path:
        location = Path(tempfile.mkdtemp(dir=root))
        location.chmod(0o755)
        _write_owner(location, self._path)
        self._path.unlink(missing_ok=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.symlink_to(location)
        return location


def _check_ours(path: Path) -> None:
    found = path.is_symlink() or path.exists()
    if found and not (path.exists() and path.stat().st_uid == os.geteuid()):
        raise ConfigurationError([_not_ours(path)])


def _not_ours(path: Path) -> str:
    return f"{path} was made by another user: run as that user, or remove {path.parent}"


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


def _write_owner(location: Path, link: Path) -> None:
    (location / OWNER).write_text(str(link))


def _shared_lock(location: Path) -> int:
    descriptor = os.open(location, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_unused(root: Path) -> None:
    """Removes data whose link no longer exists. Expects the lock of `root`."""
    for location in root.iterdir():
        if not _is_used(location):
            _remove(location)


def _is_used(location: Path) -> bool:
    owner = _owner(location)
    if owner is None:
        return False
    moved = not owner.parent.parent.exists()
    return _target(owner) == location or (moved and time.time() - (location / OWNER).stat().st_mtime < KEPT_S)


def _owner(location: Path) -> Path | None:
    """None for incomplete data of a killed process."""
    try:
        return Path((location / OWNER).read_text())
    except OSError:
        return None


def _remove(location: Path) -> None:
    """Does nothing while a server uses them."""
    descriptor = os.open(location, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(location)
    finally:
        os.close(descriptor)


@contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """For temporary stacks; removes their data in other places as well."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        directory = Path(name).resolve()
        try:
            yield directory
        finally:
            if server_user() is not None:
                _remove_data_of(directory)


def _remove_data_of(directory: Path) -> None:
    for root in filter(Path.exists, candidates(STATE)):
        with suppress(OSError), locked(root):
            check_safe(root)
            for location in root.iterdir():
                if (owner := _owner(location)) is not None and owner.is_relative_to(directory):
                    _remove(location)
