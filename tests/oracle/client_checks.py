"""What clients saw, and what the API answers at the end, against the stories of the log."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final, cast

from tests.oracle.evidence import Anomaly, Evidence, Picture, Row
from tests.oracle.story import ENDED, Story

RANKS: Final = {"queued": 0, "dispatched": 1, "processing": 2, **dict.fromkeys(ENDED, 3)}
Stories = Mapping[str, Story]


def check_clients(evidence: Evidence, stories: Stories) -> Iterator[Anomaly]:
    for text in evidence.seen.refused:
        yield Anomaly("refused", "client", text)
    for subject, polls in evidence.seen.polls.items():
        yield from _polls(subject, polls, stories.get(subject))
    for subject, responses in evidence.seen.cancels.items():
        yield from _cancels(subject, responses, stories.get(subject))
    yield from _stream(evidence, stories)
    for subject, story in stories.items():
        if story.request is not None and subject in evidence.answers:
            yield from _answer(subject, story, evidence)
    for subject in evidence.seen.deleted:
        yield from _deleted(subject, evidence, stories)


def _polls(subject: str, polls: list[Row], story: Story | None) -> Iterator[Anomaly]:
    """Never backwards, and never a status that the log does not have at that version."""
    told = {line.version: line.status for line in story.told if line.applied} if story else {}
    for poll in polls:
        status = told.get(cast("int", poll["version"]))
        if status != poll["status"]:
            yield Anomaly("poll_differs", subject, f"{poll['status']} at version {poll['version']}, was {status}")
    for before, after in pairwise(polls):
        if _regresses(before, after):
            yield Anomaly("status_regressed", subject, f"{_short(before)}, then {_short(after)}")


def _regresses(before: Row, after: Row) -> bool:
    if before["status"] in ENDED and after["status"] != before["status"]:
        return True
    older, newer = _order(before), _order(after)
    return newer < older or cast("int", after["version"]) < cast("int", before["version"])


def _order(poll: Row) -> tuple[int, int]:
    return cast("int", poll["attempt"]), RANKS[str(poll["status"])]


def _short(poll: Row) -> str:
    return f"{poll['status']} (version {poll['version']}, attempt {poll['attempt']})"


def _cancels(subject: str, responses: list[Row], story: Story | None) -> Iterator[Anomaly]:
    """A cancellation that was answered stands: canceled for good, or ended otherwise before its worker stopped."""
    for response in responses:
        if story is None or not any(line.event["type"] == "generation.cancel_requested" for line in story.told):
            if response["status"] not in ENDED:
                yield Anomaly("cancel_lost", subject, f"answered {response['status']}, and is not on the log")
        elif response["canceled"] and story.status != "canceled":
            yield Anomaly("cancel_undone", subject, f"answered canceled, and is {story.status}")
        elif story.status in {"failed", "timed_out"} and response["status"] not in ENDED and not _late(story):
            yield Anomaly("cancel_ignored", subject, f"is {story.status}")


def _late(story: Story) -> bool:
    """Whether the cancellation came after the end, or the deadline passed before the worker had stopped."""
    return not story.cancel_asked or story.status == "timed_out"


def _stream(evidence: Evidence, stories: Stories) -> Iterator[Anomaly]:
    """Over all connections: each event of the owner once, in the order of its partition, none left out, and none of
    another owner."""
    start = evidence.seen.stream_start
    if not start:
        return
    heard = [str(event["position"]) for event in evidence.seen.streamed]
    for position, count in Counter(heard).items():
        if count > 1:
            yield Anomaly("streamed_twice", position, f"{count} times")
    last: dict[int, int] = {}
    for position in heard:
        partition, offset = (int(part) for part in position.split(":"))
        if offset < last.get(partition, -1):
            yield Anomaly("streamed_out_of_order", position, f"after {last[partition]}")
        last[partition] = offset
    expected = {
        line.record.position
        for story in stories.values()
        if story.request is not None and story.request["owner_id"] == evidence.seen.owner_id
        for line in story.told
        if line.version > 0 and line.record.offset > start.get(line.record.partition, -1)
    }
    for position in sorted(expected - set(heard)):
        yield Anomaly("stream_gap", position, "never streamed")
    for position in sorted(set(heard) - expected):
        yield Anomaly("stream_extra", position, "not on the log, or of another owner")


def _answer(subject: str, story: Story, evidence: Evidence) -> Iterator[Anomaly]:
    answer = evidence.answers[subject]
    if (answer is None) != story.deleted:
        yield Anomaly("answer_differs", subject, f"{'404' if answer is None else '200'}, deleted: {story.deleted}")
    if answer is None:
        return
    error = cast("Row | None", answer["error"])
    found = (answer["status"], answer["version"], answer["attempt"], error["code"] if error else None)
    expected = (story.status, story.version, story.attempt, story.error)
    if found != expected:
        yield Anomaly("answer_differs", subject, f"{found}, expected {expected}")
    positions = [line.record.position for line in story.told]
    if evidence.histories.get(subject) != positions:
        yield Anomaly("history_differs", subject, f"{evidence.histories.get(subject)}, expected {positions}")
    yield from _outputs(subject, story, cast("list[Row]", answer["outputs"]), evidence)


def _outputs(subject: str, story: Story, outputs: list[Row], evidence: Evidence) -> Iterator[Anomaly]:
    if [str(output["id"]) for output in outputs] != list(story.outputs):
        yield Anomaly("outputs_differ", subject, f"{[output['id'] for output in outputs]}")
        return
    request = story.request or {}
    for output in outputs:
        key = (subject, str(output["id"]))
        stated = story.outputs[key[1]]
        size = (stated.get("width") or request["width"], stated.get("height") or request["height"])
        yield from _picture("image", key, evidence.pictures.get(key), size, stated)
        thumbnail = cast("Row | None", stated["thumbnail"])
        if thumbnail is not None:
            size = (thumbnail["width"], thumbnail["height"])
            yield from _picture("thumbnail", key, evidence.thumbnails.get(key), size, thumbnail)


def _picture(
    what: str, key: tuple[str, str], found: Picture | None, size: tuple[object, object], stated: Row
) -> Iterator[Anomaly]:
    subject, detail = key[0], f"output {key[1]}: "
    if found is None or found.fault is not None:
        yield Anomaly(f"{what}_broken", subject, detail + str(found.fault if found else "no URL"))
    elif (found.width, found.height) != size:
        yield Anomaly(f"{what}_size", subject, f"{detail}{found.width}x{found.height}, stated {size}")
    elif stated.get("bytes") not in {None, found.bytes} or stated.get("sha256") not in {None, found.sha256}:
        yield Anomaly(f"{what}_bytes", subject, f"{detail}{found.bytes} bytes, stated {stated.get('bytes')}")


def _deleted(subject: str, evidence: Evidence, stories: Stories) -> Iterator[Anomaly]:
    if evidence.answers.get(subject) is not None:
        yield Anomaly("deletion_undone", subject, "it is answered with 200 again")
    story = stories.get(subject)
    if story is None or not story.deleted:
        yield Anomaly("deletion_lost", subject, "not on the log")
    elif not evidence.gone.get(subject, False):
        yield Anomaly("objects_left", subject, "its image or thumbnail can still be fetched")
