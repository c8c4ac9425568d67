"""PostgreSQL against the stories of the log: every row, and nothing left over."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from tests.oracle.evidence import Anomaly, Evidence, Row, Tables
from tests.oracle.readers import as_list
from tests.oracle.story import ENDED, Line, Story, moment
from tests.oracle.usage_checks import check_usage

ENDINGS: Final = frozenset(
    f"generation.{word}" for word in ("completed", "failed", "canceled", "timed_out", "moderated")
)


def check_tables(evidence: Evidence, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    tables = evidence.tables
    yield from _timeline(tables, stories)
    yield from _endings(tables)
    yield from _states(tables, stories)
    yield from _requests(tables, stories)
    yield from _checkpoints(evidence, stories)
    yield from _daily_counts(tables, stories)
    yield from check_usage(tables, stories)
    for row in tables.dead_letters:
        yield Anomaly("dead_letter", f"{row['partition']}:{row['log_offset']}", f"{row['reason']}: {row['detail']}")
    for row in tables.jobs:
        yield Anomaly("open_job", str(row["job_key"]), f"{row['tries']} tries, last error {row['last_error']}")


def _timeline(tables: Tables, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    rows = {(row["partition"], row["log_offset"]): row for row in tables.timeline}
    if len(rows) < len(tables.timeline):
        yield Anomaly("timeline_doubled", "timeline", f"{len(tables.timeline) - len(rows)} rows too many")
    for story in stories.values():
        for line in story.told:
            row = rows.pop((line.record.partition, line.record.offset), None)
            yield from _line(story, line, row)
    for partition, offset in rows:
        yield Anomaly("timeline_extra", f"{partition}:{offset}", "no such record on the log")


def _line(story: Story, line: Line, row: Row | None) -> Iterator[Anomaly]:
    if row is None:
        yield Anomaly("timeline_missing", line.record.position, f"{line.event['type']} of {story.generation_id}")
        return
    known = line.version > 0
    found = (row["ignored"] is None, row["version"], row["status"], row["payload"])
    expected = (
        line.applied,
        line.version if known else None,
        line.status if known else None,
        (line.record.value or b"").decode(),
    )
    if found != expected:
        detail = f"{line.event['type']}: {found[:3]} (ignored: {row['ignored']}), expected {expected[:3]}"
        yield Anomaly("timeline_differs", line.record.position, f"{story.generation_id} {detail}")


def _endings(tables: Tables) -> Iterator[Anomaly]:
    """From the rows alone: applied events raise the version by one, and no status follows a terminal one."""
    last: dict[str, tuple[int, str]] = {}
    for row in tables.timeline:
        if row["ignored"] is not None:
            continue
        subject, status = str(row["generation_id"]), str(row["status"])
        version = int(str(row["version"]))
        before_version, before = last.get(subject, (version - 1, ""))
        if before in ENDED and (status != before or row["type"] in ENDINGS):
            yield Anomaly("ended_twice", subject, f"{before}, then {row['type']} to {status}")
        if version != before_version + 1:
            yield Anomaly("version_regressed", subject, f"{version} after {before_version}")
        last[subject] = (version, status)


def _states(tables: Tables, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    rows = {str(row["generation_id"]): row for row in tables.states}
    for subject, story in stories.items():
        row = rows.pop(subject, None)
        if story.request is None:
            continue
        if row is None:
            yield Anomaly("state_missing", subject, story.status)
            continue
        expected, found = _of_story(story), _of_row(row)
        for name, value in expected.items():
            if found[name] != value:
                yield Anomaly("state_differs", subject, f"{name} is {found[name]!r}, expected {value!r}")
    for subject in rows:
        yield Anomaly("state_extra", subject, "no such generation on the log")


def _of_story(story: Story) -> dict[str, object]:
    return {
        "partition": story.told[0].record.partition,
        "status": story.status,
        "version": story.version,
        "attempt": story.attempt,
        "provider": story.provider,
        "provider_job_id": story.job,
        "percent": story.percent,
        "cancel_requested": story.cancel_asked,
        "started_at": _seconds(story.started_at),
        "ended_at": _seconds(story.ended_at),
        "deleted": story.deleted,
        "error": story.error,
        "outputs": [
            (id_, output["object_key"], output.get("sha256"), _thumbnail_key(output["thumbnail"]))
            for id_, output in story.outputs.items()
        ],
    }


def _of_row(row: Row) -> dict[str, object]:
    error = as_list(f"[{row['error']}]") if row["error"] else []
    return {
        **{name: row[name] for name in ("partition", "status", "version", "attempt", "provider", "provider_job_id")},
        "percent": row["percent"],
        "cancel_requested": row["cancel_requested"],
        "started_at": _seconds(row["started_at"]),
        "ended_at": _seconds(row["ended_at"]),
        "deleted": row["deleted_at"] is not None,
        "error": error[0]["code"] if error else None,
        "outputs": [
            (output["id"], output["object_key"], output["sha256"], _thumbnail_key(output["thumbnail"]))
            for output in as_list(row["outputs"])
        ],
    }


def _thumbnail_key(thumbnail: object) -> object:
    return thumbnail["object_key"] if isinstance(thumbnail, Mapping) else None


def _seconds(value: object) -> float | None:
    """To the hundredth of a millisecond: a row's time went through a float."""
    return round(value.timestamp(), 4) if isinstance(value, datetime) else None


def _requests(tables: Tables, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    rows = {str(row["generation_id"]): row for row in tables.requests}
    names = ("owner_id", "prompt", "seed", "width", "height", "model", "provider", "max_attempts")
    for subject, story in stories.items():
        row = rows.pop(subject, None)
        if story.request is None:
            continue
        if row is None:
            yield Anomaly("request_missing", subject, "no row")
        elif differing := [name for name in names if row[name] != story.request.get(name)]:
            yield Anomaly("request_row_differs", subject, f"in {differing}")
    for subject in rows:
        yield Anomaly("request_extra", subject, "no such generation on the log")


def _checkpoints(evidence: Evidence, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    ends = Counter(record.partition for record in evidence.log)
    applied = Counter(line.record.partition for story in stories.values() for line in story.told if line.applied)
    found = {int(str(row["partition"])): row for row in evidence.tables.checkpoints}
    for partition, end in ends.items():
        row = found.get(partition)
        if row is None:
            yield Anomaly("checkpoint_missing", f"partition {partition}", f"the log ends at {end}")
            continue
        counts = (row["next_offset"], row["applied"], row["ignored"])
        expected = (end, applied[partition], end - applied[partition])
        if counts != expected:
            detail = f"next, applied, ignored are {counts}, expected {expected}"
            yield Anomaly("checkpoint_differs", f"partition {partition}", detail)


def _daily_counts(tables: Tables, stories: Mapping[str, Story]) -> Iterator[Anomaly]:
    expected: Counter[tuple[str, str]] = Counter()
    for story in stories.values():
        if story.request is not None:
            expected[str(moment(story.request["occurred_at"]).astimezone(UTC).date()), "requested"] += 1
        if story.ended_at is not None:
            expected[str(story.ended_at.astimezone(UTC).date()), story.status] += 1
    found: Counter[tuple[str, str]] = Counter()
    for row in tables.daily_counts:
        for measure in ("requested", *ENDED):
            found[str(row["day"]), measure] += int(str(row[measure]))
    if +found != +expected:
        yield Anomaly("daily_counts_differ", "daily_counts", f"{dict(+found)}, expected {dict(+expected)}")
