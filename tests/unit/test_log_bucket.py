"""What is missing of a partition, told from where its batches begin."""

from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.dev.log_bucket import Hole, empty_batch, missing_offsets

LENGTHS = st.lists(st.tuples(st.integers(1, 4), st.booleans()))


@given(st.integers(0, 3), LENGTHS)
def test_it_finds_exactly_the_batches_that_are_gone(start: int, batches: list[tuple[int, bool]]) -> None:
    there: dict[int, int] = {}
    gone: list[int] = []
    end = start
    for length, lost in batches:
        if lost:
            gone += range(end, end + length)
        else:
            there[end] = length
        end += length
    assert missing_offsets(start, list(there), end, there.__getitem__) == gone


def test_a_batch_above_the_end_counts_for_nothing() -> None:
    """The end was read before the batches were listed."""
    assert missing_offsets(0, [0, 2, 3, 4], 3, {0: 1, 2: 1}.__getitem__) == [1]


def test_of_single_records_no_length_is_asked() -> None:
    unknown: dict[int, int] = {}
    assert missing_offsets(0, [0, 1, 2], 3, unknown.__getitem__) == []


def test_what_is_put_there_is_one_empty_record() -> None:
    batch = DefaultRecordBatch(empty_batch(1_795_000_000_000))
    assert batch.validate_crc()
    [record] = batch
    assert (record.key, record.value, record.timestamp, batch.last_offset_delta) == (None, None, 1_795_000_000_000, 0)


def test_a_hole_is_named_as_positions_are() -> None:
    hole = Hole("clusters/tansu_cluster/topics/generation.events/partitions/0000000003/", 427)
    assert str(hole) == "generation.events/3:427"
    assert hole.key.endswith("/0000000003/records/00000000000000000427.batch")
