"""Processes that ended by an error of their own, as their logs say: a restart hides them from every client."""

import json
from collections.abc import Iterable, Iterator

from tests.oracle.evidence import Anomaly

FAUST_WITHOUT_BROKER = ("NodeNotReadyError", "KafkaConnectionError")
"""A faust app ends when the broker dies while the app starts; the process is restarted."""


def crashes(role: str, lines: Iterable[str]) -> Iterator[Anomaly]:
    """One for each log event `crashed`."""
    for line in lines:
        if '"crashed"' not in line:
            continue
        try:
            event = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        reason = _error(str(event.get("exception", "")))
        if event.get("event") == "crashed" and not any(name in reason for name in FAUST_WITHOUT_BROKER):
            yield Anomaly("crashed", role, f"{event.get('timestamp')}: {reason[:300]}")


def _error(traceback: str) -> str:
    """The last error that a traceback names: that of a group ends with a frame around its errors."""
    lines = [line.strip(" |+-") for line in traceback.splitlines()]
    return next((line for line in reversed(lines) if line), "")
