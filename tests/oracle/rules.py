"""The rules of the wire as a plain interpreter: one mutable story a generation, told event by event.

Nothing is shared with the fold, on purpose: where the two disagree, one of them is wrong.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import cast

from tests.oracle.evidence import LogRecord, Row
from tests.oracle.story import EARLY_MAX, OF_ONE_ATTEMPT, REPORTS_OF_WORKERS, WHILE_OPEN, Line, Story, moment, read


def interpret(log: Iterable[LogRecord]) -> dict[str, Story]:
    """The story of each generation, from the records in the order of their partition."""
    stories: dict[str, Story] = {}
    for record in log:
        event = read(record)
        if event is None:
            continue
        story = stories.setdefault(str(event["generation_id"]), Story(str(event["generation_id"])))
        applied = _tell(story, event, record.timestamp)
        story.version += applied
        story.told.append(Line(record, event, applied, story.version, story.status))
    return stories


def _tell(story: Story, event: Row, appended_ms: int) -> bool:
    name, id_ = str(event["type"]), str(event["id"])
    occurred = moment(event["occurred_at"])
    if id_ in story.early:
        return False
    if abs(occurred.timestamp() - appended_ms / 1000) > timedelta(days=1).total_seconds():
        story.early.append(id_)
        return False
    if story.request is None:
        if name == "generation.requested":
            _request(story, event)
            return True
        story.early.append(id_)
        return False
    applied = _apply(story, name, event, occurred)
    word = name.removeprefix("generation.")
    if event.get("attempt") is None and word in OF_ONE_ATTEMPT and not story.over and id_ not in story.early:
        story.unnumbered = max(story.unnumbered or occurred, occurred)
    if story.status == "queued" and story.attempt > 1:
        story.fence = story.unnumbered
    return applied


def _request(story: Story, event: Row) -> None:
    story.request, story.status, story.attempt = event, "queued", 1
    story.provider = str(event["provider"])
    story.asked_at = moment(event["occurred_at"])


def _apply(story: Story, name: str, event: Row, occurred: datetime) -> bool:
    room, _, word = name.partition(".")
    if room == "thumbnail":
        return _thumbnail(story, word, event)
    if name == "outputs.deleted":
        return _removed(story, event)
    if word == "deleted":
        return _delete(story, occurred)
    if word not in WHILE_OPEN or story.over:
        return False
    number = event.get("attempt")
    if number is not None and number != story.attempt:
        return _early(story, event) if cast("int", number) > story.attempt else False
    if number is None and _belongs_to_an_earlier_attempt(story, word, occurred):
        return False
    return _of_the_current_attempt(story, word, event, occurred)


def _belongs_to_an_earlier_attempt(story: Story, word: str, occurred: datetime) -> bool:
    if word in OF_ONE_ATTEMPT and story.fence is not None and occurred <= story.fence:
        return True
    return story.status == "queued" and story.attempt > 1 and word in REPORTS_OF_WORKERS


def _early(story: Story, event: Row) -> bool:
    """Ignored, and remembered: the same event ignored again. Too many of them end an open generation."""
    if story.over:
        return False
    if len(story.early) >= EARLY_MAX:
        _end(story, "failed", moment(event["occurred_at"]), "inconsistent_events")
        story.version += 1
        return False
    story.early.append(str(event["id"]))
    return False


def _of_the_current_attempt(story: Story, word: str, event: Row, occurred: datetime) -> bool:
    match word:
        case "dispatched":
            return _dispatched(story, event, occurred)
        case "accepted":
            return _accepted(story, event, occurred)
        case "started":
            return _started(story, occurred)
        case "progressed":
            return _progressed(story, event, occurred)
        case "heartbeat_received":
            return _heartbeat(story, occurred)
        case "cancel_requested":
            return _cancel(story, occurred)
        case "retried" | "timed_out":
            return _given_up(story, word, event, occurred)
        case "failed":
            return _failed(story, cast("Row", event["error"]), occurred)
        case "completed":
            return _completed(story, event, occurred)
        case _:
            return _end(story, word, occurred, "moderated" if word == "moderated" else None)


def _dispatched(story: Story, event: Row, occurred: datetime) -> bool:
    if story.status != "queued":
        return False
    story.status, story.provider = "dispatched", str(event["provider"])
    story.dispatched_at = occurred
    return True


def _accepted(story: Story, event: Row, occurred: datetime) -> bool:
    if story.job is not None:
        return False
    story.provider, story.job = str(event["provider"]), str(event["provider_job_id"])
    if story.status == "queued":
        story.status = "dispatched"
    story.dispatched_at = story.dispatched_at or occurred
    return True


def _started(story: Story, occurred: datetime) -> bool:
    return story.status != "processing" and _runs(story, occurred)


def _runs(story: Story, occurred: datetime) -> bool:
    story.status = "processing"
    story.started_at = story.started_at or occurred
    story.heard_at = max(story.heard_at or occurred, occurred)
    return True


def _progressed(story: Story, event: Row, occurred: datetime) -> bool:
    percent = float(cast("float", event["percent"]))
    if story.percent is not None and percent <= story.percent:
        return False
    story.percent = percent
    return _runs(story, occurred)


def _heartbeat(story: Story, occurred: datetime) -> bool:
    """Only a later one than the last report of the worker counts."""
    return not (story.heard_at is not None and occurred <= story.heard_at) and _runs(story, occurred)


def _cancel(story: Story, occurred: datetime) -> bool:
    if story.status == "queued":
        story.cancel_asked = True
        return _end(story, "canceled", occurred)
    if story.cancel_asked:
        return False
    story.cancel_asked = True
    return True


def _given_up(story: Story, word: str, event: Row, occurred: datetime) -> bool:
    known = event.get("last_heard_at")
    signs = (story.asked_at, story.dispatched_at, story.started_at, story.heard_at)
    if known is not None and any(sign is not None and sign > moment(known) for sign in signs):
        return False
    if word == "timed_out":
        return _end(story, "timed_out", occurred, "timed_out")
    if story.cancel_asked:
        return _end(story, "canceled", occurred)
    if story.attempt >= _attempts_max(story):
        return _early(story, event)
    return _next_attempt(story)


def _failed(story: Story, error: Row, occurred: datetime) -> bool:
    if story.cancel_asked:
        return _end(story, "canceled", occurred)
    deadline = story.request.get("deadline") if story.request else None
    in_time = deadline is None or occurred < moment(deadline)
    if error.get("retryable", False) and in_time and story.attempt < _attempts_max(story):
        story.error = str(error["code"])
        return _next_attempt(story)
    return _end(story, "failed", occurred, str(error["code"]))


def _attempts_max(story: Story) -> int:
    found = (story.request or {}).get("max_attempts", 3)
    return int(cast("int", found))


def _next_attempt(story: Story) -> bool:
    story.status, story.attempt = "queued", story.attempt + 1
    story.percent = story.job = None
    story.dispatched_at = story.started_at = story.heard_at = None
    return True


def _end(story: Story, status: str, occurred: datetime, error: str | None = None) -> bool:
    story.status, story.ended_at, story.error = status, occurred, error
    return True


def _completed(story: Story, event: Row, occurred: datetime) -> bool:
    outputs = cast("list[dict[str, object]]", event["outputs"])
    ids = [str(output.get("id", "0")) for output in outputs]
    if len(set(ids)) < len(ids):
        ids = [str(number) for number in range(len(ids))]
    empty: Mapping[str, object] = {"thumbnail": None, "thumbnail_error": None, "revision": 1}
    story.outputs = {id_: {**output, **empty} for id_, output in zip(ids, outputs, strict=True)}
    story.percent, story.started_at = 100.0, story.started_at or occurred
    return _end(story, "completed", occurred)


def _delete(story: Story, occurred: datetime) -> bool:
    if story.deleted:
        return False
    story.deleted = True
    if story.status == "queued":
        story.cancel_asked = True
        return _end(story, "canceled", occurred)
    story.cancel_asked = story.cancel_asked or not story.over
    return True


def _removed(story: Story, event: Row) -> bool:
    if story.status != "completed":
        return _early(story, event)
    had, story.outputs = bool(story.outputs), {}
    return had


def _thumbnail(story: Story, word: str, event: Row) -> bool:
    if story.status != "completed":
        return _early(story, event)
    output = story.outputs.get(str(event.get("output_id", "0")))
    if output is None:
        return False
    revision, asked = int(cast("int", event.get("revision", 1))), int(cast("int", output["revision"]))
    if word == "requested":
        if story.deleted or revision <= asked:
            return False
        output |= {"revision": revision, "thumbnail_error": None}
        return True
    return _settled(output, word, event, revision, asked)


def _settled(output: dict[str, object], word: str, event: Row, revision: int, asked: int) -> bool:
    thumbnail = cast("Row | None", output["thumbnail"])
    has_it = thumbnail is not None and thumbnail.get("revision", 1) == asked
    failed_before = word == "failed" and output["thumbnail_error"] is not None
    if revision < asked or (revision == asked and (has_it or failed_before)):
        return False
    if word == "created":
        output |= {"thumbnail": event, "thumbnail_error": None, "revision": revision}
        source = cast("Row", event.get("source") or {})
        output |= {name: said for name, said in source.items() if output.get(name) is None}
    else:
        output |= {"thumbnail_error": event["reason"], "revision": revision}
    return True
