"""Batches that Apache Kafka accepts and a client cannot unpack: each of their offsets is accounted for, the good
records around them are applied, and no command ends at them."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, islice
from typing import Final

import pytest

from agents.run import run_agents
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.log.partitions import partition_of
from gengui_stream.log.unpacking.records import RawRecord, UnreadableRecord
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import GenerationRequested
from tests.events import FakeRecord
from tests.integration.commands import command
from tests.integration.log.logs import everything
from tests.integration.log.raw_batches import BatchProducer, batch_producer
from tests.integration.running import a_request, eventually, running, state_of
from tests.unit.log.record_batches import (
    CHECKED_FROM,
    CODECS,
    HEADER_BYTES,
    HEADER_NAME,
    compressed,
    mutate,
    stored_batch,
)

pytestmark = pytest.mark.stack

PARTITION: Final = 0
MUTATIONS: Final = 150
OFFSET_DELTA_AT: Final = 4
"""In a record, behind its length of two bytes, its attributes, and the difference of its time, which is 0."""


def requests(settings: Settings, number: int) -> list[GenerationRequested]:
    """Of the partition."""
    endless = (a_request() for _ in count())
    here = (one for one in endless if partition_of(encode_key(one), settings.events_partitions) == PARTITION)
    return list(islice(here, number))


def batch_of(events: Sequence[GenerationRequested]) -> bytes:
    moment = int(events[0].occurred_at.timestamp() * 1000)
    return stored_batch(
        [FakeRecord(at, moment, encode_key(event), encode_value(event)) for at, event in enumerate(events)]
    )


def with_another_offset(batch: bytes, at: int) -> bytes:
    """Of the record at this index of the bytes. The broker does not read it in an uncompressed batch."""
    return batch[: at + OFFSET_DELTA_AT] + b"\x7e" + batch[at + OFFSET_DELTA_AT + 1 :]


def with_another_length(batch: bytes, at: int) -> bytes:
    """The broker skips over the fields of records in a compressed batch, and does not compare their sum."""
    return batch[:at] + bytes([batch[at] ^ 0x02]) + batch[at + 1 :]


DAMAGE: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "none": with_another_offset,
    **dict.fromkeys(CODECS.keys() - {"none"}, with_another_length),
}


def damaged_in_the_middle(events: Sequence[GenerationRequested], codec: str) -> bytes:
    """The record in the middle of three."""
    whole = batch_of(events)
    start_of_second = len(batch_of(events[:1]))
    return compressed(DAMAGE[codec](whole, start_of_second), CODECS[codec])


async def appended(producer: BatchProducer, batch: bytes) -> int:
    offset = await producer.append(PARTITION, batch)
    assert offset is not None, "the broker refuses the batch"
    return offset


@pytest.mark.parametrize("codec", sorted(CODECS))
async def test_a_batch_that_cannot_be_unpacked_leaves_a_dead_letter_and_its_neighbours(
    settings: Settings, pool: Pool, codec: str
) -> None:
    before, first, second, third, after = requests(settings, 5)
    broken = damaged_in_the_middle([first, second, third], codec)
    async with batch_producer(settings) as producer:
        await appended(producer, batch_of([before]))
        at = await appended(producer, broken)
        await appended(producer, batch_of([after]))
    async with running(run_agents, settings):
        await eventually(partial(state_of, pool, after.generation_id))
    letters = await pool.fetch(
        "SELECT partition, log_offset, reason, record_value FROM projections.dead_letters ORDER BY log_offset"
    )
    assert [tuple(letter)[:3] for letter in letters] == [(PARTITION, at + n, "unreadable") for n in (1, 2)]
    stored = letters[0]["record_value"]
    assert stored[CHECKED_FROM:] == broken[CHECKED_FROM:], "the broker writes only what is before it"
    applied = [await state_of(pool, request.generation_id) for request in (before, first, second, third, after)]
    assert [state is not None for state in applied] == [True, True, False, False, True]
    report = await verify(settings)
    assert report.agrees, report.samples
    tail = await command(settings, "events", "tail", "--from", "start", "--no-follow", "--json")
    assert [line["type"] for line in tail.documents] == [
        *["generation.requested"] * 2,
        *["(unreadable)"] * 2,
        "generation.requested",
    ]


@pytest.mark.parametrize("codec", sorted(CODECS))
async def test_a_header_name_that_is_no_text_costs_no_record(settings: Settings, pool: Pool, codec: str) -> None:
    """The client library alone raises at it, at every start."""
    events = requests(settings, 3)
    batch = batch_of(events).replace(HEADER_NAME.encode(), b"\xff" * len(HEADER_NAME))
    async with batch_producer(settings) as producer:
        await appended(producer, compressed(batch, CODECS[codec]))
    async with running(run_agents, settings):
        await eventually(partial(state_of, pool, events[-1].generation_id))
    assert await pool.fetchval("SELECT sum(applied) FROM projections.checkpoints") == 3
    assert await pool.fetchval("SELECT count(*) FROM projections.dead_letters") == 0


async def test_whatever_a_broker_accepts_each_offset_is_read_once(settings: Settings) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source, ends = random.Random(seed), [0]
    whole = batch_of(requests(settings, 3))
    async with batch_producer(settings) as producer:
        for number in count():
            changed = bytearray(whole[HEADER_BYTES:])
            mutate(changed, source)
            batch = compressed(whole[:HEADER_BYTES] + changed, source.choice(list(CODECS.values())))
            offset = await producer.append(PARTITION, batch)
            ends += [] if offset is None else [offset]
            if number >= MUTATIONS and offset is not None:
                break
    found = await everything(settings)
    assert [record.offset for record in found] == list(range(ends[-1] + 3))
    assert {type(record) for record in found} <= {RawRecord, UnreadableRecord}
