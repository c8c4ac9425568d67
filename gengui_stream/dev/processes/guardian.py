"""`python -m gengui_stream.dev.processes.guardian`: reads process ids, one a line, and kills those processes at the end
of its input, which comes when the process that started it is gone."""

import sys
from contextlib import suppress

import psutil


def main() -> None:
    """psutil also knows when a process began: another one that got its number is not killed."""
    children: list[psutil.Process] = []
    for line in sys.stdin:
        with suppress(psutil.NoSuchProcess):
            children.append(psutil.Process(int(line)))
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    main()
