"""The page of results: an introduction and a section for each measurement. Others stay unchanged."""

from collections.abc import Mapping, Sequence
from typing import Final

HEADING: Final = "## "

INTRODUCTION: Final = """# Benchmarks

Written by `make bench`; nothing here is typed by hand. `make bench ARGS="--only freshness,http"` measures these
sections again and leaves the others, `make bench ARGS="--quick"` prints shorter runs and leaves the page. Under each
heading are the machine, the versions, the commit and the day of that section.

Everything runs on one machine: load, servers and databases share its cores, so these are figures of the whole, not of
one part. The servers are those of the embedded stack, each role is a process of its own, PostgreSQL has `fsync` and
`synchronous_commit` on, and the broker leaves its log to the page cache. What is compared runs interleaved, in
rounds; a figure is the median of its rounds unless it says otherwise. Goals stand beside the figures, missed or met.
"""


def replaced(page: str, measured: Mapping[str, str], order: Sequence[str]) -> str:
    """The page with these sections, by heading, in place of its earlier ones; in `order`, others last."""
    found = {**sections(page), **{heading: text.strip() for heading, text in measured.items()}}
    known = [heading for heading in order if heading in found]
    others = [heading for heading in found if heading not in order]
    parts = [INTRODUCTION.strip(), *(f"{HEADING}{heading}\n\n{found[heading]}" for heading in [*known, *others])]
    return "\n\n".join(parts) + "\n"


def sections(page: str) -> dict[str, str]:
    """The text by heading, without the introduction."""
    _, *parts = f"\n{page}".split(f"\n{HEADING}")
    split = (part.partition("\n") for part in parts)
    return {heading.strip(): text.strip() for heading, _, text in split}
