"""The plain fold of a verification: the states of a fold in memory, with memory for the records at hand."""

import gc
import tracemalloc
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.log import codec, partitions
from gengui_stream.log.partitions import PartitionPlace
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.recovery.verification.reference_fold import PartitionFold
from gengui_stream.recovery.verification.staging import Progress, opened_staging
from schemas import fields
from schemas.events import Event
from tests.events import GENERATION, FakeRecord, histories, record_of, wide_histories

PLACE: Final = PartitionPlace(0, 1)
LIMITED_CACHES: Final = tuple(
    tracemalloc.Filter(False, str(module.__file__)) for module in (codec, partitions, fields, uuid)
)
"""Of keys, and of the strings that pydantic decodes: some 16,000 of each at most."""
CHUNK: Final = 100


def chunks(generations: int) -> Iterator[list[FakeRecord]]:
    records = (record_of(event, offset) for offset, event in enumerate(wide_histories(generations, active=20)))
    while chunk := list(islice(records, CHUNK)):
        yield chunk


def kept_after(generations: int) -> int:
    """The bytes that Python holds once that many are folded."""
    gc.collect()
    tracemalloc.start()
    try:
        with opened_staging() as staging:
            fold = PartitionFold(staging, PLACE)
            for records in chunks(generations):
                fold.feed(records, {})
            del records
            gc.collect()  # what only a cycle holds
            found = tracemalloc.take_snapshot().filter_traces(LIMITED_CACHES)
        return sum(trace.size for trace in found.traces)
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_generations() -> None:
    kept_after(20)  # what is made once
    small, large = kept_after(20), kept_after(170)  # whose states are 150 KB at least
    assert large < small + 50_000, f"{small:,} bytes after 20 generations, {large:,} after 170"


@given(histories(), st.integers(1, 5))
def test_it_continues_after_any_number_of_records(events: Sequence[Event], size: int) -> None:
    records = [record_of(event, offset) for offset, event in enumerate(events)]
    known = FoldState(place=PLACE)
    outcomes = fold_records(decode_records(records), known)
    with opened_staging() as staging:
        fold = PartitionFold(staging, PLACE)
        found = [fold.feed(records[first : first + size], {}) for first in range(0, len(records), size)]
        progress = staging.load(0, [GENERATION]).get(GENERATION, Progress())
    assert [outcome for one in found for outcome in one.outcomes] == outcomes
    assert progress.state == known.states.get(GENERATION)
    assert progress.unrequested == known.unrequested.get(GENERATION, ())
    assert progress.parked == (GENERATION in known.parked)
