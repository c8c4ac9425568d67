"""The progress of a section, on standard error, as its standard output is the text of the page."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
