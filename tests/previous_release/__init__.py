"""The release before this one, which runs beside it during an update: its commit, and its packages in `source.tar.xz`.

`make previous-release COMMIT=…` takes another commit, and writes both.
"""

import tarfile
from pathlib import Path
from typing import Final

COMMIT: Final = "84feeb13e5218f0342abcabff6db00df7526d3b8"

SOURCE: Final = Path(__file__).parent / "source.tar.xz"
PACKAGES: Final = ("gengui_stream", "schemas", "agents", "api")


def unpack(directory: Path) -> None:
    """Its packages, as a directory for PYTHONPATH: it runs with the libraries of this release."""
    with tarfile.open(SOURCE) as archive:
        archive.extractall(directory, filter="data")


def commit_of_source() -> str:
    """The commit that `git archive` wrote into the archive."""
    with tarfile.open(SOURCE) as archive:
        return archive.pax_headers["comment"]


def migrations() -> dict[str, str]:
    """The text of each migration that it ships, by name."""
    folder = "gengui_stream/postgres/migrations/"
    found: dict[str, str] = {}
    with tarfile.open(SOURCE) as archive:
        for member in archive:
            if member.name.startswith(folder) and (file := archive.extractfile(member)):
                found[member.name.removeprefix(folder)] = file.read().decode()
    return found
