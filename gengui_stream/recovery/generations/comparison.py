"""Compares the rows of one generation with its fold."""

import orjson

from gengui_stream.log.positions import Position
from gengui_stream.projections.outcomes import Applied
from gengui_stream.recovery.generations.refold import Refold
from gengui_stream.recovery.generations.stored_rows import StoredRows
from gengui_stream.recovery.verification.database_pages import state_values
from gengui_stream.recovery.verification.expected_rows import (
    REQUEST_COLUMNS,
    STATE_COLUMNS,
    TimelineRow,
    canonical,
    request_row,
    state_row,
    timeline_row,
)
from gengui_stream.recovery.verification.report import Report, compare_rows


def compare(refolded: Refold, stored: StoredRows) -> Report:
    """The rows of the state, the request and the timeline that differ from the fold. Rows of the timeline that
    retention has removed are no difference."""
    report = Report()
    _compare_state(refolded, stored, report)
    _compare_request(refolded, stored, report)
    _compare_timeline(refolded, stored, report)
    return report


def _compare_state(refolded: Refold, stored: StoredRows, report: Report) -> None:
    last, key = refolded.last_change, str(refolded.generation_id)
    if last is None or last.after is None:
        if stored.state is not None:
            report.unexpected("generation_states", key)
        return
    if stored.state is None:
        report.missing("generation_states", key)
        return
    expected = canonical(state_row(last.after, refolded.home, last.position.offset))
    found = canonical(state_values(stored.state))
    report.compare("generation_states", key, STATE_COLUMNS, orjson.loads(expected), orjson.loads(found))


def _compare_request(refolded: Refold, stored: StoredRows, report: Report) -> None:
    expected = [
        request_row(step.outcome.event)
        for step in refolded.steps
        if isinstance(step.outcome, Applied) and step.outcome.event.type == "generation.requested"
    ]
    found = [] if stored.request is None else [tuple(stored.request)]
    compare_rows(report, "generation_requests", REQUEST_COLUMNS, key=(0,), expected=expected, found=found)


def _compare_timeline(refolded: Refold, stored: StoredRows, report: Report) -> None:
    rows = [timeline_row(step.outcome, step.position.partition) for step in refolded.steps]
    expected = {Position(row.partition, row.log_offset): row for row in rows if row is not None}
    found = {Position(row["partition"], row["log_offset"]): tuple(row) for row in stored.timeline}
    pruned = stored.pruned_before
    due = [row for at, row in expected.items() if at in found or pruned is None or row.appended_at >= pruned]
    report.pruned += len(expected) - len(due)
    compare_rows(report, "timeline", TimelineRow._fields, key=(1, 2), expected=due, found=found.values())
