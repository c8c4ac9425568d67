"""Directories of root that another user may read. PostgreSQL refuses to run as root and then runs as `nobody`, a user
that may enter neither the checkout nor root's home."""

import errno
import fcntl
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gengui_stream.errors import ConfigurationError

NAME: Final = "gengui-stream"
AS_ANOTHER_USER: Final = "no directory was found for files of a user of its own: run as an ordinary user"
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def server_user() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as; None for the user of this process."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def candidates(usual: Path) -> list[Path]:
    """The default location, and others in case it is read-only."""
    others = [Path("/var/tmp"), Path(tempfile.gettempdir())]  # noqa: S108 - `check_safe` is for them
    return [usual.resolve() / NAME, *(other.resolve() / f"{NAME}-{usual.name}" for other in others)]


def root_directory(usual: Path) -> Path:
    """The first usable candidate, created if it is missing. Raises ConfigurationError if none can."""
    faults = []
    for directory in candidates(usual):
        try:
            _ensure(directory)
        except OSError as error:
            faults.append(f"{directory}: {error.strerror}")
        else:
            return directory
    raise ConfigurationError([f"PostgreSQL refuses to run as root, and {AS_ANOTHER_USER} ({'; '.join(faults)})"])


def _ensure(directory: Path) -> None:
    with suppress(FileExistsError):
        directory.mkdir()
        directory.chmod(0o755)  # regardless of the umask
    check_safe(directory)
    if not os.access(directory, os.W_OK):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))


def check_safe(directory: Path) -> None:
    """Raises PermissionError if a user other than root could have created or could replace the contents of the
    directory, or if only root may enter it."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & WRITABLE_BY_OTHERS:
        raise PermissionError(0, "is not a directory that only root may write to")
    for parent in directory.parents:
        found = parent.lstat()
        exchangeable = found.st_mode & WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or exchangeable or not found.st_mode & stat.S_IXOTH:
            raise PermissionError(0, f"{parent} is not root's, or closed to other users")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Other checkouts on the machine use the directory as well. The kernel releases the lock of a killed process."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
