"""Events for tests and benchmarks: hypothesis strategies over small domains, so that events meet each other often,
and whole, wide, realistic histories."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid5

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gengui_stream.domain.identifiers import uuid7
from gengui_stream.log.codec import encode_key, encode_value
from schemas.events import (
    Event,
    Failure,
    GenerationAccepted,
    GenerationCanceled,
    GenerationCancelRequested,
    GenerationCompleted,
    GenerationDeleted,
    GenerationDispatched,
    GenerationFailed,
    GenerationHeartbeatReceived,
    GenerationModerated,
    GenerationProgressed,
    GenerationRequested,
    GenerationRetried,
    GenerationStarted,
    GenerationTimedOut,
    Output,
    OutputsDeleted,
    ThumbnailCreated,
    ThumbnailFailed,
    ThumbnailRequested,
)

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
GENERATION: Final = uuid7(1_780_000_000_000, b"generation")
OWNER: Final = uuid7(1_780_000_000_000, b"the owner!")


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A record with the attributes of any consumer's."""

    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None


def record_of(event: Event, offset: int) -> FakeRecord:
    """The record of an append at the time of the event."""
    return FakeRecord(offset, int(event.occurred_at.timestamp() * 1000), encode_key(event), encode_value(event))


Common: TypeAlias = dict[str, Any]


def running_events(generation_id: UUID = GENERATION) -> list[Event]:
    """One of each that ends nothing, or only an attempt."""
    common = _common(generation_id)
    again = Failure(code="lost", message="the connection was lost", retryable=True)
    return [
        GenerationDispatched(**common, provider="gemini", provider_job_id="job-7"),
        GenerationAccepted(**common, provider="runpod", provider_job_id="job-8", endpoint_id="e1"),
        GenerationStarted(**common, worker="worker/one"),
        GenerationProgressed(**common, percent=0),
        GenerationProgressed(**common, percent=37.5, stage="sampling"),
        GenerationProgressed(**common, percent=100),
        GenerationHeartbeatReceived(**common),
        GenerationFailed(**common, error=again),
        GenerationCancelRequested(**common),
        GenerationRetried(**common, reason="its worker is gone"),
    ]


def ending_events(generation_id: UUID = GENERATION) -> list[Event]:
    """Those that end a generation, and those that come afterwards."""
    common = _common(generation_id)
    first, second = Output(object_key="a.png"), Output(id="1", object_key="b.png", mime_type="image/png", width=640)
    pixels = {"width": 128, "height": 96, "bytes": 2_345}
    return [
        GenerationCompleted(**common, outputs=(first,)),
        GenerationCompleted(**common, outputs=(first, second)),
        GenerationCompleted(**common, outputs=(first, first, second)),
        GenerationFailed(**common, error=Failure(code="broken", message="für immer: \u2028 \U0001f4a5")),
        GenerationCanceled(**common),
        GenerationTimedOut(**common, reason="too late"),
        GenerationTimedOut(**common, reason="no sign of life"),
        GenerationModerated(**common, reason="not this"),
        *(
            ThumbnailCreated(**common, output_id=o, object_key="t.webp", mime_type="image/webp", **pixels)
            for o in "012"
        ),
        *(ThumbnailFailed(**common, output_id=o, reason="broken_image") for o in "012"),
        *(ThumbnailRequested(**common, output_id=o, revision=revision) for o in "01" for revision in (2, 3)),
        ThumbnailCreated(**common, revision=2, object_key="t.webp", mime_type="image/webp", **pixels),
        ThumbnailFailed(**common, revision=2, reason="broken_image"),
        GenerationDeleted(**common),
        OutputsDeleted(**common),
    ]


def requests(generation_id: UUID = GENERATION) -> list[Event]:
    """First events: one, two or three attempts; without a deadline, with a near one, with a far one."""
    common = {**_common(generation_id), "owner_id": OWNER, "prompt": "a lighthouse", "width": 512, "height": 768}
    return [
        GenerationRequested(
            **common, seed=7, model="flux", provider="local", max_attempts=most, deadline=NOON + wait if wait else None
        )
        for most in (1, 2, 3)
        for wait in (None, timedelta(seconds=6), timedelta(hours=1))
    ]


def variants(bare: Sequence[Event]) -> list[Event]:
    """Each of them for several attempts and moments, and with an id of its own."""
    varied = [
        event.model_copy(update={"attempt": attempt, "occurred_at": NOON + timedelta(seconds=s)})
        for event, attempt, s in product(bare, (None, 1, 2, 3), (0, 5, 15))
    ]
    return [event.model_copy(update={"id": uuid5(GENERATION, event.model_dump_json())}) for event in varied]


def histories(generation_id: UUID = GENERATION, *, max_size: int = 20) -> SearchStrategy[list[Event]]:
    """Anything at all; mostly a first request, what runs, then what ends and comes afterwards."""
    first, running, ending = requests(generation_id), running_events(generation_id), ending_events(generation_id)
    anything = st.lists(st.sampled_from(variants([*first, *running, *ending])), max_size=max_size)
    likely = st.tuples(
        st.sampled_from(variants(first)), st.lists(st.sampled_from(variants(running)), max_size=max_size), anything
    )
    return likely.map(lambda parts: [parts[0], *parts[1], *parts[2]]) | anything


def _common(generation_id: UUID) -> Common:
    return {"id": GENERATION, "generation_id": generation_id, "occurred_at": NOON, "producer": "tests"}


_PROSE: Final = (
    "a lighthouse at dusk, oil on canvas, long exposure, volumetric light, heavy weather, film grain, muted palette, "
    "wide angle, foreground of wet basalt, gulls, a distant tanker, storm clouds breaking over the horizon, detailed"
)
EVENTS_A_GENERATION: Final = 10


def wide_history(number: int, *, start: datetime = NOON, seed: int = 0) -> list[Event]:
    """One generation from request to thumbnail, in `EVENTS_A_GENERATION` events as wide as real ones; the same for
    the same arguments."""
    source = random.Random(f"{seed}/{number}")
    generation_id = uuid7(int(start.timestamp() * 1000) + number, source.randbytes(10))
    steps = (*_beginning(number, start, source), *_ending(number, source))
    return [_placed(step, generation_id, start, place, source) for place, step in enumerate(steps)]


def wide_histories(generations: int, *, start: datetime = NOON, seed: int = 0, active: int = 500) -> Iterator[Event]:
    """Many of them, `active` at a time and interleaved as concurrent generations are."""
    for first in range(0, generations, active):
        numbers = range(first, min(first + active, generations))
        group = [wide_history(number, start=start, seed=seed) for number in numbers]
        for step in zip(*group, strict=True):
            yield from step


def _placed(event: Event, generation_id: UUID, start: datetime, place: int, source: random.Random) -> Event:
    moment = start + timedelta(milliseconds=700 * place)
    envelope = {
        "id": uuid7(int(moment.timestamp() * 1000), source.randbytes(10)),
        "generation_id": generation_id,
        "occurred_at": moment,
        "correlation_id": str(generation_id),
        "traceparent": f"00-{source.randbytes(16).hex()}-{source.randbytes(8).hex()}-01",
    }
    return event.model_copy(update=envelope)


def _bare(attempt: int | None) -> Common:
    return {"id": GENERATION, "generation_id": GENERATION, "occurred_at": NOON, "attempt": attempt}


def _beginning(number: int, start: datetime, source: random.Random) -> Sequence[Event]:
    common = _bare(None)
    requested = GenerationRequested(
        **common,
        producer="api/web-1",
        owner_id=UUID(int=(OWNER.int & ~0xFFFF) | number % 1_000),
        prompt=" ".join(source.choices(_PROSE.split(), k=45)),
        seed=source.randrange(2**53),
        width=1024,
        height=1024,
        model="flux-dev-fp8",
        provider="local",
        deadline=start + timedelta(minutes=10),
    )
    worker, one = f"worker/gpu-{number % 16}-4711", _bare(1)
    return (
        requested,
        GenerationDispatched(**one, producer="dispatch/web-1", provider="local", provider_job_id="7-0"),
        GenerationStarted(**one, producer=worker, worker=worker),
        *(
            GenerationProgressed(**one, producer=worker, percent=percent, stage="sampling")
            for percent in (10.0, 30.0, 50.0, 70.0, 90.0)
        ),
    )


def _ending(number: int, source: random.Random) -> Sequence[Event]:
    common = _bare(1)
    name = f"generations/2026/06/01/{source.randbytes(16).hex()}/0"
    image = Output(
        object_key=f"{name}.png",
        mime_type="image/png",
        width=1024,
        height=1024,
        bytes=source.randrange(1_000_000, 2_000_000),
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
    thumbnail = ThumbnailCreated(
        **common,
        producer="thumbnails/web-1",
        object_key=f"{name}.thumbnail.webp",
        mime_type="image/webp",
        width=128,
        height=128,
        bytes=source.randrange(2_000, 6_000),
    )
    return GenerationCompleted(**common, producer=f"worker/gpu-{number % 16}-4711", outputs=(image,)), thumbnail
