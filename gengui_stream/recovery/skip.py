"""Moves a partition's checkpoint past offsets that cannot be projected, and keeps a discarded dead letter of each.

The last resort: for a record that ends the agents, and for offsets whose records are gone.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gengui_stream.errors import PermanentError
from gengui_stream.log.codec import decode_record
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import dead_letters
from gengui_stream.projections.outcomes import appended_at
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.settings import Settings

OFFSETS_MAX: Final = 10_000
READ_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """`found`: the number of offsets that hold a record."""

    first: Position
    last: Position
    found: int


async def skip(settings: Settings, pool: Pool, first: Position, through: int, order: Order) -> Skipped:
    """Skips the offsets from `first` to `through`. The owner of the partition, if it has one, goes on behind them.
    The order is kept with each, and in the audit.

    Raises PermanentError, and changes nothing, when `first` is not the partition's checkpoint, or when `through` is
    before it, beyond the end of the log or too far.
    """
    await check_topic(settings)
    if first.partition >= settings.events_partitions:
        raise PermanentError(f"{settings.events_topic} has no partition {first.partition}")
    wanted = range(first.offset, through + 1)
    if not 0 < len(wanted) <= OFFSETS_MAX:
        raise PermanentError(f"{first} to {through}: 1 to {OFFSETS_MAX} offsets can be skipped at once")
    records = await _records(settings, first.partition, wanted)
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            await _hold(connection, settings.events_topic, first)
            said = f"skipped by {order.operator}: {order.reason}"
            rows = [_row(settings.events_topic, first.partition, each, records.get(each), said) for each in wanted]
            await dead_letters.insert_skipped(connection, rows)
            await checkpoints.skip_to(connection, settings.events_topic, first.partition, wanted.stop, len(wanted))
            await write_act(connection, order, "skip", f"{first} to {through}", {"records": len(records)})
    return Skipped(first, Position(first.partition, through), len(records))


async def _hold(connection: Connection, topic: str, first: Position) -> None:
    next_offset = await checkpoints.hold(connection, topic, first.partition)
    if next_offset != first.offset:
        raise PermanentError(
            f"partition {first.partition} is at offset {next_offset}, not {first.offset}: only its next offset can be "
            "skipped"
        )


async def _records(settings: Settings, partition: int, wanted: range) -> dict[int, LogRecord]:
    """The records at these offsets, without those that are gone or that the broker does not send in time."""
    found: dict[int, LogRecord] = {}
    async with open_reader(settings, {partition: wanted.start}, [partition]) as reader:
        end = (await reader.ends())[partition]
        if wanted.stop > end:
            raise PermanentError(f"partition {partition} of the log ends before offset {end}")
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_WITHIN_S):
                while not await reader.reached({partition: wanted.stop}):
                    found.update((each.offset, each) for each in await reader.read() if each.offset in wanted)
    return found


def _row(topic: str, partition: int, offset: int, record: LogRecord | None, reason: str) -> tuple[object, ...]:
    at = (topic, partition, offset)
    if record is None:
        return (*at, None, f"{reason}; the log has no record here", None, None, datetime.fromtimestamp(0, UTC))
    return (*at, decode_record(record).generation_id, reason, record.key, record.value, appended_at(record))
