"""`python -m gengui_stream.dev.processes.guardian`: reads process ids, one per line, and kills those processes at the
end of its input, which comes when its parent has ended."""

import sys
from contextlib import suppress

import psutil


def main() -> None:
    """psutil also compares start times, so a later process with the same id is not killed."""
    children: list[psutil.Process] = []
    for line in sys.stdin:
        with suppress(psutil.NoSuchProcess):
            children.append(psutil.Process(int(line)))
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    main()
