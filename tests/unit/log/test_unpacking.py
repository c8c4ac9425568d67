"""Unpacking of record batches: every codec, damaged batches, and what a stranger may put into one."""

import os
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import pytest
from aiokafka import TopicPartition

from gengui_stream.log.codec import Undecodable, decode_record
from gengui_stream.log.unpacking import decompression
from gengui_stream.log.unpacking.decompression import decompress
from gengui_stream.log.unpacking.fetched import FetchedBytes, LogPartitionRecords, RawTopic
from gengui_stream.log.unpacking.records import ControlRecord, LogRecord, RawRecord, UnreadableRecord
from tests.events import FakeRecord, record_of, wide_history
from tests.unit.log.record_batches import (
    CODECS,
    HEADER_NAME,
    control_batch,
    damaged,
    stored_batch,
    with_checksum,
    with_length,
)

MUTATIONS: Final = int(os.environ.get("FUZZ_MUTATIONS", "3000"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "20261129"))
OFFSETS: Final = slice(23, 27)
"""The field of a batch with the number of its offsets."""

RECORDS: Final = [record_of(event, offset) for offset, event in enumerate(wide_history(1)[:5])]


def unpacked(data: bytes, expected: int = 0) -> list[LogRecord]:
    """What a consumer of the log would get from these bytes of a fetch."""
    at = TopicPartition("events", 3)
    found = LogPartitionRecords(at, FetchedBytes(data), None, expected, RawTopic("events"), None, True, 0)
    return [record for record in found if isinstance(record, RawRecord | UnreadableRecord | ControlRecord)]


def raw(records: Sequence[FakeRecord]) -> list[LogRecord]:
    return [RawRecord(3, each.offset, each.timestamp, each.key, each.value) for each in records]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_of_kafka_is_readable(codec: int) -> None:
    assert unpacked(stored_batch(RECORDS, codec=codec)) == raw(RECORDS)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_records_before_the_position_are_left_out(codec: int) -> None:
    """A broker sends the whole batch that holds the offset asked for."""
    assert unpacked(stored_batch(RECORDS, codec=codec), expected=3) == raw(RECORDS[3:])


def test_a_header_name_that_is_no_text_does_not_matter() -> None:
    batch = stored_batch(RECORDS).replace(HEADER_NAME.encode(), b"\xff" * len(HEADER_NAME), 2)
    assert unpacked(with_checksum(batch)) == raw(RECORDS)


def test_a_record_that_cannot_be_unpacked_leaves_the_records_before_and_after_its_batch() -> None:
    value = RECORDS[2].value or b""
    broken = with_checksum(with_length(stored_batch(RECORDS).replace(value, value[:-60])))
    found = unpacked(broken + stored_batch([FakeRecord(5, 7, b"key", b"value")]))
    assert found[:2] == raw(RECORDS[:2])
    assert [(type(record), record.offset) for record in found[2:5]] == [(UnreadableRecord, n) for n in (2, 3, 4)]
    assert [record.value for record in found[2:5]] == [broken, None, None]
    assert found[5:] == [RawRecord(3, 5, 7, b"key", b"value")]
    decoded = decode_record(found[2])
    assert isinstance(decoded, Undecodable)
    assert decoded.reason == "unreadable"


def test_a_batch_with_a_wrong_checksum_ends_where_the_next_one_begins() -> None:
    broken = bytearray(stored_batch(RECORDS))
    broken[-1] ^= 1
    found = unpacked(bytes(broken) + stored_batch([FakeRecord(5, 7, b"key", b"value")]))
    assert [record.offset for record in found] == list(range(6))
    assert [type(record) for record in found] == [*[UnreadableRecord] * 5, RawRecord]
    assert found[0].value == bytes(broken)


def test_a_mark_of_a_transaction_is_no_lost_record() -> None:
    data = stored_batch(RECORDS) + control_batch(5) + stored_batch([FakeRecord(6, 7, b"key", b"value")])
    assert [type(record) for record in unpacked(data)[4:]] == [RawRecord, ControlRecord, RawRecord]
    assert [record.offset for record in unpacked(data)] == list(range(7))


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_decompression_bomb_is_one_unreadable_record(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "PLAIN_MAX_BYTES", 1 << 20)
    large = FakeRecord(0, 7, b"key", bytes(1_000_000))
    assert unpacked(stored_batch([large], codec=codec)) == raw([large])
    bomb = FakeRecord(0, 7, b"key", bytes((1 << 20) + 1))
    [record] = unpacked(stored_batch([bomb], codec=codec))
    assert isinstance(record, UnreadableRecord)


def test_a_codec_that_kafka_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no codec 7"):
        decompress(7, b"")


def test_an_incomplete_batch_at_the_end_of_a_fetch_is_left_for_the_next_one() -> None:
    first, second = stored_batch(RECORDS[:2]), stored_batch(RECORDS[2:])
    assert unpacked(first + second[:-3]) == raw(RECORDS[:2])


def test_no_damage_to_a_batch_ends_a_consumer() -> None:
    """Each offset is delivered once, in order, and the batch after the damaged one is read as it is. A broker writes
    base offsets and lengths itself, and checks the number of offsets. `make fuzz` runs 100,000 mutations."""
    source = random.Random(SEED)
    batches = [(stored_batch(RECORDS, codec=codec), 5) for codec in CODECS.values()] + [(control_batch(0), 1)]
    for number in range(MUTATIONS):
        whole, end = source.choice(batches)
        broken = damaged(whole, source)
        found = unpacked(broken + stored_batch([FakeRecord(end, 7, b"key", b"value")]))
        offsets = [record.offset for record in found]
        assert all(later > earlier for earlier, later in pairwise(offsets)), (SEED, number, broken)
        written_by_a_broker = broken[:8] == whole[:8] and broken[OFFSETS] == whole[OFFSETS]
        if written_by_a_broker and with_length(broken)[:12] == broken[:12]:
            assert offsets == list(range(end + 1)), (SEED, number, broken)
            assert found[-1] == RawRecord(3, end, 7, b"key", b"value"), (SEED, number, broken)
