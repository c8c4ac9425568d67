"""What was used at the providers, against the runs that the log tells."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final

from tests.oracle.evidence import Anomaly, Tables
from tests.oracle.story import Story, moment

SIGNS: Final = ("started", "progressed", "heartbeat_received")
ENDS: Final = ("completed", "failed", "canceled", "moderated", "retried", "timed_out")
OF_SILENCE: Final = ("retried", "timed_out")


def check_usage(tables: Tables, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    """By day alone: the provider and model of each run are not part of a story."""
    expected: Counter[tuple[str, str]] = Counter()
    for story in stories.values():
        for day, images, run_ms in runs(story):
            expected.update({(str(day), "runs"): 1, (str(day), "images"): images, (str(day), "run_ms"): run_ms})
    found: Counter[tuple[str, str]] = Counter()
    for row in tables.provider_usage:
        for measure in ("runs", "images", "run_ms"):
            found[str(row["day"]), measure] += int(str(row[measure]))
    if +found != +expected:
        yield Anomaly("provider_usage_differs", "provider_usage", f"{dict(+found)}, expected {dict(+expected)}")


def runs(story: Story) -> Iterator[tuple[date, int, int]]:
    """The day of the end, the images and the milliseconds of each attempt that ran."""
    started: datetime | None = None
    heard: datetime | None = None
    for line in story.told:
        kind, at = str(line.event["type"]).removeprefix("generation."), moment(line.event["occurred_at"])
        if not line.applied:
            continue
        if kind in SIGNS:
            started, heard = started or at, max(heard or at, at)
        elif kind in ENDS:
            if started is not None or kind == "completed":
                outputs = line.event.get("outputs")
                until = heard if kind in OF_SILENCE and heard is not None else at
                spent = (until - (started or until)).total_seconds()
                yield at.astimezone(UTC).date(), len(outputs) if isinstance(outputs, list) else 0, _ms(spent)
            started = heard = None


def _ms(seconds: float) -> int:
    """Whole milliseconds; events have microseconds."""
    return max(0, round(seconds * 1_000_000) // 1_000)
