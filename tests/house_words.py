"""Finds words that this project avoids, and names what to write instead: `python -m tests.house_words`.

Reads the tracked text files and prints `file:line` for each finding. A word with a technical meaning is allowed by a
pattern in ALLOWED, not by a remark in the text.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FILES: Final = ("*.py", "*.md", "*.sql", "*.toml", "Makefile")

INSTEAD: Final[Mapping[str, str]] = {
    r"whoever|nobody|somebody|everybody|someone|anybody": "name the thing: a worker, a process, the owner",
    r"(is|are|was|were) away": "is unavailable",
    r"(is|are|was|were) told": "receives, is set, is called with",
    r"is well|all is well": "is healthy",
    r"what waits|hears? of|heard of": "the queued records; receives, reports",
    r"in vain": "without a result",
    r"afresh|anew|once more": "again",
    r"for ever": "forever",
    r"under way|at work|in good order": "in progress, running, gracefully",
    r"is said|says so": "is logged, is reported",
    r"lanes?": "queue of a partition",
    r"bells?|hint(s|ed)?": "notification",
    r"patience": "time-out",
    r"wish(es|ed)?": "request, preference",
    r"blames?": "fault domain",
    r"inert": "ignored",
    r"judges?|judged|judging|verdicts?": "decide, check, evaluate; finding",
    r"puts? off": "reschedule",
    r"bury|buried": "dead-letter",
    r"nonsense": "invalid",
    r"complains?": "error",
    r"hell": "chaos",
}

ALLOWED: Final = (
    r"\blate_progress_for_ever\b",  # a ready behaviour of the fake RunPod
    r"`hints_\w+`|`hinted`|`thumbnail_put_off`",  # older log events and labels, in the changelog
    r"\bparam_hint\b",  # a parameter of typer
    r"`nobody`|\"nobody\"",  # the user of the operating system
    r"`hell`|\"hell\"",  # the older name of a script of the fake providers
)

_WORDS: Final = {re.compile(rf"(?<![\w-])({word})(?![\w-])", re.IGNORECASE): to for word, to in INSTEAD.items()}
_ALLOWED: Final = re.compile("|".join(ALLOWED))


def tracked_files() -> Sequence[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *FILES], cwd=ROOT, capture_output=True, check=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and not name.endswith("house_words.py")]


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """The line number, the word, and what to write instead."""
    for number, line in enumerate(text.splitlines(), start=1):
        plain = _ALLOWED.sub("", line).replace("_", " ")
        for word, instead in _WORDS.items():
            if found := word.search(plain):
                yield number, found[0], instead


def main() -> int:
    """Exit code: 1 when a word was found."""
    found = False
    for path in tracked_files():
        if not path.exists():
            continue
        for number, word, instead in findings(path.read_text(encoding="utf-8")):
            found = True
            sys.stdout.write(f"{path.relative_to(ROOT)}:{number}: {word!r}; write: {instead}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
