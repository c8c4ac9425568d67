"""A small history by hand, as the system would leave it in the log, the tables, the API and the object store."""

import json
from datetime import UTC, datetime, timedelta

from tests.oracle.evidence import Accepted, Evidence, LogRecord, Picture, ProviderCall, Row, Tables

OWNER = "01890000-0000-7000-8000-000000000001"
FIRST = "01890000-0000-7000-8000-0000000000f1"
SECOND = "01890000-0000-7000-8000-0000000000f2"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OUTPUT = {
    "id": "0",
    "object_key": "k",
    "mime_type": "image/png",
    "width": 256,
    "height": 320,
    "bytes": 9,
    "sha256": "s",
}
THUMBNAIL = {"object_key": "t", "mime_type": "image/webp", "width": 102, "height": 128, "bytes": 5}
REQUEST = {
    "owner_id": OWNER,
    "prompt": "a lighthouse",
    "seed": 4,
    "width": 256,
    "height": 320,
    "model": "local-sketch",
    "provider": "local",
    "max_attempts": 3,
    "deadline": "2026-03-01T13:00:00Z",
}

COMPLETED: tuple[tuple[str, dict[str, object]], ...] = (
    ("generation.requested", {"attempt": 1, **REQUEST}),
    ("generation.dispatched", {"attempt": 1, "provider": "local"}),
    ("generation.started", {"attempt": 1}),
    ("generation.progressed", {"attempt": 1, "percent": 50.0}),
    ("generation.completed", {"attempt": 1, "outputs": [OUTPUT]}),
    ("generation.completed", {"attempt": 1, "outputs": [OUTPUT]}),
    ("thumbnail.created", {"output_id": "0", **THUMBNAIL}),
)
"""The second completion is that of a worker that was paused: ignored."""

CANCELED: tuple[tuple[str, dict[str, object]], ...] = (
    ("generation.requested", {"attempt": 1, **REQUEST}),
    ("generation.cancel_requested", {}),
)

VERSIONS = {FIRST: (1, 2, 3, 4, 5, 5, 6), SECOND: (1, 2)}
STATUSES = {
    FIRST: ("queued", "dispatched", "processing", "processing", "completed", "completed", "completed"),
    SECOND: ("queued", "canceled"),
}
IGNORED = {(FIRST, 5)}


def moment(number: int) -> datetime:
    return START + timedelta(seconds=number)


def records() -> list[LogRecord]:
    """The first generation is on partition 0, the second on partition 1."""
    found: list[LogRecord] = []
    for partition, (generation_id, history) in enumerate(((FIRST, COMPLETED), (SECOND, CANCELED))):
        for offset, (kind, fields) in enumerate(history):
            at = moment(offset)
            envelope = {"id": f"{partition}-{offset}", "generation_id": generation_id, "occurred_at": at.isoformat()}
            value = json.dumps({"type": kind, **envelope, **fields}).encode()
            found.append(LogRecord(partition, offset, generation_id.encode(), value, int(at.timestamp() * 1000)))
    return found


def timeline() -> list[Row]:
    return [
        {
            "generation_id": json.loads(record.value or b"")["generation_id"],
            "partition": record.partition,
            "log_offset": record.offset,
            "owner_id": OWNER,
            "type": json.loads(record.value or b"")["type"],
            "version": VERSIONS[FIRST if record.partition == 0 else SECOND][record.offset],
            "status": STATUSES[FIRST if record.partition == 0 else SECOND][record.offset],
            "ignored": "terminal" if record.partition == 0 and record.offset == 5 else None,
            "payload": (record.value or b"").decode(),
        }
        for record in records()
    ]


def states() -> list[Row]:
    open_fields: Row = {"attempt": 1, "provider": "local", "provider_job_id": None, "error": None, "deleted_at": None}
    output = {**OUTPUT, "thumbnail": THUMBNAIL}
    return [
        {
            **open_fields,
            "generation_id": FIRST,
            "partition": 0,
            "status": "completed",
            "version": 6,
            "percent": 100.0,
            "cancel_requested": False,
            "started_at": moment(2),
            "ended_at": moment(4),
            "outputs": json.dumps([output]),
        },
        {
            **open_fields,
            "generation_id": SECOND,
            "partition": 1,
            "status": "canceled",
            "version": 2,
            "percent": None,
            "cancel_requested": True,
            "started_at": None,
            "ended_at": moment(1),
            "outputs": None,
        },
    ]


def tables() -> Tables:
    counts = {"requested": 2, "completed": 1, "failed": 0, "canceled": 1, "timed_out": 0, "moderated": 0}
    return Tables(
        requests=[{"generation_id": generation_id, **REQUEST} for generation_id in (FIRST, SECOND)],
        states=states(),
        timeline=timeline(),
        checkpoints=[
            {"partition": 0, "next_offset": 7, "applied": 6, "ignored": 1, "dead_lettered": 0},
            {"partition": 1, "next_offset": 2, "applied": 2, "ignored": 0, "dead_lettered": 0},
        ],
        daily_counts=[{"owner_id": OWNER, "day": START.date(), **counts}],
        provider_usage=[{"day": START.date(), "partition": 0, "runs": 1, "images": 1, "run_ms": 2_000}],
    )


def resource(status: str, version: int, outputs: list[Row]) -> dict[str, object]:
    return {"status": status, "version": version, "attempt": 1, "error": None, "outputs": outputs}


def history() -> Evidence:
    """Without an anomaly."""
    evidence = Evidence(log=records(), tables=tables(), calls=[ProviderCall("gemini", FIRST, 1)])
    seen = evidence.seen
    seen.owner_id = OWNER
    parameters = {name: REQUEST[name] for name in ("prompt", "seed", "width", "height")}
    seen.accepted = {"k1": Accepted(FIRST, "0:0", parameters), "k2": Accepted(SECOND, "1:0", parameters)}
    statuses = (("queued", 1), ("processing", 4), ("completed", 5), ("completed", 6))
    seen.polls = {FIRST: [resource(status, version, []) for status, version in statuses]}
    seen.cancels = {SECOND: [{"status": "canceled", "canceled": True, "cancel_requested": False}]}
    seen.streamed = [{"position": record.position} for record in evidence.log]
    seen.stream_start = {-1: -1}
    evidence.answers = {
        FIRST: resource("completed", 6, [{"id": "0", "url": "u", "thumbnail_url": "t"}]),
        SECOND: resource("canceled", 2, []),
    }
    evidence.histories = {
        generation_id: [record.position for record in evidence.log if record.partition == partition]
        for partition, generation_id in enumerate((FIRST, SECOND))
    }
    evidence.pictures = {(FIRST, "0"): Picture(256, 320, 9, "s")}
    evidence.thumbnails = {(FIRST, "0"): Picture(102, 128, 5, "x")}
    return evidence
