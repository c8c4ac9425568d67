"""What a section is at, on standard error: its standard output is the text of the page."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
