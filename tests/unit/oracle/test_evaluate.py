"""The oracle finds each kind of anomaly in a history that has none until it is planted."""

import json
from collections.abc import Callable

import pytest

from tests.oracle.api_reader import opened
from tests.oracle.evaluate import evaluate
from tests.oracle.evidence import Accepted, Evidence, Picture, ProviderCall, Row
from tests.unit.oracle.histories import FIRST, OUTPUT, OWNER, SECOND, history, moment, resource

OTHER = "01890000-0000-7000-8000-000000000002"
Plant = Callable[[Evidence], None]


def kinds(evidence: Evidence) -> set[str]:
    return {anomaly.kind for anomaly in evaluate(evidence)}


def test_a_history_as_it_should_be_has_no_anomaly() -> None:
    assert evaluate(history()) == []


def changed(rows: list[Row], number: int, **fields: object) -> None:
    rows[number] = {**rows[number], **fields}


def dropped_event(evidence: Evidence) -> None:
    evidence.tables.timeline.pop(3)


def doubled_row(evidence: Evidence) -> None:
    evidence.tables.timeline.append(evidence.tables.timeline[3])


def regressed_row(evidence: Evidence) -> None:
    changed(evidence.tables.states, 0, status="processing", version=4)


def doubled_end(evidence: Evidence) -> None:
    changed(evidence.tables.timeline, 5, ignored=None, status="failed", version=6)


def skipped_version(evidence: Evidence) -> None:
    changed(evidence.tables.timeline, 3, version=5)


def changed_payload(evidence: Evidence) -> None:
    changed(evidence.tables.timeline, 3, payload="{}")


def lost_request(evidence: Evidence) -> None:
    evidence.log = [record for record in evidence.log if record.partition == 0]


def lost_record(evidence: Evidence) -> None:
    evidence.log = [record for record in evidence.log if record.position != "0:3"]


def unreadable_record(evidence: Evidence) -> None:
    evidence.log = [*evidence.log, evidence.log[-1]._replace(offset=2, value=b"{")]


def other_position(evidence: Evidence) -> None:
    evidence.seen.accepted["k1"] = Accepted(FIRST, "0:1", {})


def other_parameters(evidence: Evidence) -> None:
    evidence.seen.accepted["k1"] = Accepted(FIRST, "0:0", {"prompt": "another"})


def key_for_two(evidence: Evidence) -> None:
    evidence.seen.accepted["k3"] = evidence.seen.accepted["k1"]


def open_generation(evidence: Evidence) -> None:
    evidence.log = [record for record in evidence.log if record.position != "1:1"]


def without_thumbnail(evidence: Evidence) -> None:
    evidence.log = [record for record in evidence.log if record.position != "0:6"]


def failed_thumbnail(evidence: Evidence) -> None:
    last = next(record for record in evidence.log if record.position == "0:6")
    event = json.loads(last.value or b"") | {"type": "thumbnail.failed", "reason": "unreadable"}
    without_thumbnail(evidence)
    evidence.log = [*evidence.log, last._replace(value=json.dumps(event).encode())]


def missing_thumbnail_object(evidence: Evidence) -> None:
    evidence.thumbnails[FIRST, "0"] = Picture(0, 0, 0, "", "404")


def small_image(evidence: Evidence) -> None:
    evidence.pictures[FIRST, "0"] = Picture(255, 320, 9, "s")


def other_bytes(evidence: Evidence) -> None:
    evidence.pictures[FIRST, "0"] = Picture(256, 320, 9, "another")


def regressed_poll(evidence: Evidence) -> None:
    evidence.seen.polls[FIRST].append(resource("processing", 4, []))


def invented_poll(evidence: Evidence) -> None:
    evidence.seen.polls[FIRST].insert(1, resource("failed", 2, []))


def stale_answer(evidence: Evidence) -> None:
    evidence.answers[FIRST] = resource("processing", 4, [{"id": "0"}])


def missing_answer(evidence: Evidence) -> None:
    evidence.answers[FIRST] = None


def short_history(evidence: Evidence) -> None:
    evidence.histories[FIRST].pop()


def undone_cancel(evidence: Evidence) -> None:
    completed = {"type": "generation.completed", "attempt": 1, "outputs": [OUTPUT]}
    first, last = (record for record in evidence.log if record.partition == 1)
    envelope = {"id": "x", "generation_id": SECOND, "occurred_at": moment(1).isoformat()}
    end = last._replace(value=json.dumps({**completed, **envelope}).encode())
    evidence.log = [record for record in evidence.log if record.partition == 0]
    evidence.log = [*evidence.log, first, end, last._replace(offset=2)]


def lost_cancel(evidence: Evidence) -> None:
    evidence.seen.cancels[SECOND] = [{"status": "processing", "canceled": False, "cancel_requested": True}]
    open_generation(evidence)


def undone_deletion(evidence: Evidence) -> None:
    evidence.seen.deleted[FIRST] = {"outputs": []}


def streamed_twice(evidence: Evidence) -> None:
    evidence.seen.streamed.append(evidence.seen.streamed[-1])


def stream_gap(evidence: Evidence) -> None:
    evidence.seen.streamed.pop(2)


def of_another_owner(evidence: Evidence) -> None:
    """The second generation; its events are streamed to the first one's owner."""
    values = [(record.value or b"").replace(OWNER.encode(), OTHER.encode()) for record in evidence.log]
    by_position = zip(evidence.log, values, strict=True)
    evidence.log = [record._replace(value=value) if record.partition else record for record, value in by_position]


def wrong_checkpoint(evidence: Evidence) -> None:
    changed(evidence.tables.checkpoints, 0, applied=7)


def wrong_count(evidence: Evidence) -> None:
    changed(evidence.tables.daily_counts, 0, completed=2)


def wrong_use(evidence: Evidence) -> None:
    changed(evidence.tables.provider_usage, 0, run_ms=1_999)


def open_job(evidence: Evidence) -> None:
    evidence.tables.jobs.append({"job_key": "reconcile", "tries": 1, "last_error": None})


def dead_letter(evidence: Evidence) -> None:
    evidence.tables.dead_letters.append({"partition": 0, "log_offset": 1, "reason": "parked", "detail": ""})


def second_call(evidence: Evidence) -> None:
    evidence.calls = [ProviderCall("gemini", FIRST, 1), ProviderCall("gemini", FIRST, 1)]


def concurrent_runs(evidence: Evidence) -> None:
    evidence.overlaps = {FIRST: 2}


def refusal(evidence: Evidence) -> None:
    evidence.seen.refused.append("GET /v1/generations: 500")


PLANTS: dict[str, Plant] = {
    "timeline_missing": dropped_event,
    "timeline_doubled": doubled_row,
    "timeline_differs": changed_payload,
    "state_differs": regressed_row,
    "ended_twice": doubled_end,
    "version_regressed": skipped_version,
    "accepted_lost": lost_request,
    "offset_gap": lost_record,
    "unreadable_record": unreadable_record,
    "wrong_position": other_position,
    "request_differs": other_parameters,
    "one_generation_for_two_keys": key_for_two,
    "not_ended": open_generation,
    "thumbnail_missing": without_thumbnail,
    "thumbnail_failed": failed_thumbnail,
    "thumbnail_broken": missing_thumbnail_object,
    "image_size": small_image,
    "image_bytes": other_bytes,
    "status_regressed": regressed_poll,
    "poll_differs": invented_poll,
    "answer_differs": stale_answer,
    "history_differs": short_history,
    "cancel_undone": undone_cancel,
    "cancel_lost": lost_cancel,
    "deletion_undone": undone_deletion,
    "streamed_twice": streamed_twice,
    "stream_gap": stream_gap,
    "stream_extra": of_another_owner,
    "checkpoint_differs": wrong_checkpoint,
    "daily_counts_differ": wrong_count,
    "provider_usage_differs": wrong_use,
    "open_job": open_job,
    "dead_letter": dead_letter,
    "attempt_started_twice": second_call,
    "concurrent_runs": concurrent_runs,
    "refused": refusal,
}


@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_anomaly_is_found(kind: str) -> None:
    evidence = history()
    PLANTS[kind](evidence)
    assert kind in kinds(evidence)


def test_an_answer_of_404_for_what_was_never_deleted_is_an_anomaly() -> None:
    evidence = history()
    missing_answer(evidence)
    assert "answer_differs" in kinds(evidence)


def test_events_of_other_owners_are_not_expected_on_the_stream() -> None:
    evidence = history()
    of_another_owner(evidence)
    evidence.seen.streamed = [event for event in evidence.seen.streamed if str(event["position"]).startswith("0:")]
    assert not kinds(evidence) & {"stream_gap", "stream_extra"}


def test_bytes_that_are_no_image_do_not_open() -> None:
    assert opened(b"\x89PNG\r\n\x1a\n").fault
