"""The thumbnailer on the in-memory object store: which failure is final, and which one may pass."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image

from gengui_stream.domain.generation.state import Generation, ProviderPreference, Status, StoredOutput
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.media.object_keys import thumbnail_key
from gengui_stream.media.thumbnails import Limits
from gengui_stream.metrics import new_metrics
from gengui_stream.testing.object_store import InMemoryObjectStore
from gengui_stream.thumbnails.thumbnailer import (
    MISSING_TRIES,
    STORE_TRIES,
    NoThumbnail,
    NotYet,
    Stored,
    Thumbnailer,
    created,
)
from schemas.events import SourceImage

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OUTPUT = StoredOutput("0", "a.png", "image/png", 64, 48, None, None)
STATE = Generation(
    new_id(), new_id(), "flux", "local", 1, None, NOON, ProviderPreference("local", "flux", True), Status.COMPLETED
)
JOB = ClaimedJob("thumbnail", "thumbnail", STATE.generation_id, 1, OUTPUT.id, 1, False, NOON)


@pytest.fixture
def store() -> InMemoryObjectStore:
    return InMemoryObjectStore()


@pytest.fixture
def thumbnailer(store: InMemoryObjectStore) -> Iterator[Thumbnailer]:
    with ThreadPoolExecutor(1) as threads:
        yield Thumbnailer(store, threads, Limits(16, 10_000, 10_000), new_metrics())


async def test_the_thumbnail_is_stored_under_its_key(store: InMemoryObjectStore, thumbnailer: Thumbnailer) -> None:
    body = BytesIO()
    Image.new("RGB", (64, 48), "red").save(body, "PNG")
    await store.put("a.png", body.getvalue(), "image/png")
    made = await thumbnailer.result(JOB, STATE, OUTPUT)
    assert isinstance(made, Stored)
    assert made.key == thumbnail_key(STATE.owner_id, STATE.generation_id, "image/webp", OUTPUT.id)
    assert store.objects[made.key] == (made.made.body, "image/webp")
    assert (made.made.width, made.made.height) == (16, 12)


async def test_an_output_that_its_worker_has_not_described_is_described(
    store: InMemoryObjectStore, thumbnailer: Thumbnailer
) -> None:
    body = BytesIO()
    Image.new("RGB", (64, 48), "red").save(body, "JPEG")
    await store.put(OUTPUT.object_key, body.getvalue(), "application/octet-stream")
    size, digest = len(body.getvalue()), sha256(body.getvalue()).hexdigest()
    source = SourceImage(mime_type="image/jpeg", width=64, height=48, bytes=size, sha256=digest)
    made = await thumbnailer.result(JOB, STATE, OUTPUT)
    assert isinstance(made, Stored)
    assert created(JOB, OUTPUT, made).source == source
    known = replace(OUTPUT, mime_type="image/png", width=1, height=2, bytes=3, sha256="0" * 64)
    made = await thumbnailer.result(JOB, STATE, known)
    assert isinstance(made, Stored)
    assert created(JOB, known, made).source is None


async def test_a_missing_object_may_still_appear(store: InMemoryObjectStore) -> None:
    metrics = new_metrics()
    thumbnailer = Thumbnailer(store, ThreadPoolExecutor(1), Limits(16, 10_000, 10_000), metrics)
    assert isinstance(await thumbnailer.result(JOB, STATE, OUTPUT), NotYet)
    last = await thumbnailer.result(replace(JOB, tries=MISSING_TRIES), STATE, OUTPUT)
    assert isinstance(last, NoThumbnail)
    assert last.reason == "object_missing"
    assert metrics.registry.get_sample_value("gengui_outputs_missing_total") == 1


async def test_an_unavailable_store_is_tried_for_longer(store: InMemoryObjectStore, thumbnailer: Thumbnailer) -> None:
    store.available = False
    assert isinstance(await thumbnailer.result(replace(JOB, tries=STORE_TRIES - 1), STATE, OUTPUT), NotYet)
    last = await thumbnailer.result(replace(JOB, tries=STORE_TRIES), STATE, OUTPUT)
    assert isinstance(last, NoThumbnail)
    assert last.reason == "store_unavailable"


async def test_an_object_over_the_limit_is_final(store: InMemoryObjectStore, thumbnailer: Thumbnailer) -> None:
    await store.put("a.png", b"x" * 10_001, "image/png")
    found = await thumbnailer.result(JOB, STATE, OUTPUT)
    assert isinstance(found, NoThumbnail)
    assert found.reason == "too_large"
