"""Promises that the log alone keeps or breaks: nothing accepted is lost, and every generation ends."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.oracle.evidence import Anomaly, Evidence, ProviderCall
from tests.oracle.story import Story, read

Stories = Mapping[str, Story]


def check_log(evidence: Evidence, stories: Stories) -> Iterator[Anomaly]:
    yield from _offsets(evidence)
    yield from _accepted(evidence, stories)
    for story in stories.values():
        yield from _story(story)
    yield from _calls(evidence)


def _offsets(evidence: Evidence) -> Iterator[Anomaly]:
    """Without transactions, a partition has every offset once."""
    expected: dict[int, int] = defaultdict(int)
    for record in evidence.log:
        if record.offset != expected[record.partition]:
            yield Anomaly("offset_gap", record.position, f"expected offset {expected[record.partition]}")
        expected[record.partition] = record.offset + 1
        if read(record) is None:
            yield Anomaly("unreadable_record", record.position, repr(record.value)[:200])


def _accepted(evidence: Evidence, stories: Stories) -> Iterator[Anomaly]:
    keys: dict[str, str] = {}
    for key, accepted in evidence.seen.accepted.items():
        first = keys.setdefault(accepted.generation_id, key)
        if first != key:
            yield Anomaly("one_generation_for_two_keys", accepted.generation_id, f"{first} and {key}")
        story = stories.get(accepted.generation_id)
        if story is None or story.request is None:
            yield Anomaly("accepted_lost", accepted.generation_id, f"answered 202 at {accepted.position}")
            continue
        requests = [line.record.position for line in story.told if line.event["type"] == "generation.requested"]
        if accepted.position not in requests:
            yield Anomaly("wrong_position", accepted.generation_id, f"{accepted.position} is none of {requests}")
        differing = {name for name, value in accepted.parameters.items() if story.request.get(name) != value}
        if differing:
            yield Anomaly("request_differs", accepted.generation_id, f"in {sorted(differing)}")


def _story(story: Story) -> Iterator[Anomaly]:
    subject = story.generation_id
    partitions = {line.record.partition for line in story.told}
    if len(partitions) > 1:
        yield Anomaly("split_generation", subject, f"on partitions {sorted(partitions)}")
    if story.request is None:
        yield Anomaly("never_requested", subject, f"{len(story.told)} events")
    elif not story.over:
        yield Anomaly("not_ended", subject, f"{story.status}, attempt {story.attempt}")
    if story.deleted:
        if story.status == "completed" and story.outputs:
            yield Anomaly("outputs_not_deleted", subject, f"{len(story.outputs)} outputs")
        return
    for id_, output in story.outputs.items():
        if output["thumbnail_error"] is not None:
            yield Anomaly("thumbnail_failed", subject, f"output {id_}: {output['thumbnail_error']}")
        elif output["thumbnail"] is None:
            yield Anomaly("thumbnail_missing", subject, f"output {id_}")


def _calls(evidence: Evidence) -> Iterator[Anomaly]:
    """A provider that is paid for each call gets one an attempt."""
    counts: dict[ProviderCall, int] = defaultdict(int)
    for call in evidence.calls:
        counts[call] += 1
    for call, count in counts.items():
        if count > 1:
            yield Anomaly("attempt_started_twice", call.generation_id, f"{call.provider}: {count} of {call.attempt}")
    for generation_id, most in evidence.overlaps.items():
        yield Anomaly("concurrent_runs", generation_id, f"{most} at once")
