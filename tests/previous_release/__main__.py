"""`python -m tests.previous_release COMMIT`: from now on that commit is the release before this one."""

import lzma
import re
import subprocess
import sys
from pathlib import Path

import tests.previous_release as previous
from tests.previous_release import PACKAGES, SOURCE


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout


def main() -> None:
    commit = git("rev-parse", "--verify", f"{sys.argv[1]}^{{commit}}").decode().strip()
    SOURCE.write_bytes(lzma.compress(git("archive", "--format=tar", commit, *PACKAGES), preset=9 | lzma.PRESET_EXTREME))
    here = Path(previous.__file__)
    here.write_text(
        re.sub(r'^COMMIT: Final = ".*"$', f'COMMIT: Final = "{commit}"', here.read_text(), flags=re.MULTILINE)
    )
    print(f"{commit}: {SOURCE.stat().st_size // 1024} KiB in {SOURCE}")


if __name__ == "__main__":
    main()
