"""How far the live projections, the log and the shadow are, and how far the shadow is to go."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gengui_stream.errors import PermanentError
from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.log.positions import Position
from gengui_stream.log.reader import LogReader
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Connection
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import partition_owners
from gengui_stream.recovery import pauses
from gengui_stream.recovery.rebuild.shadow.connection import ShadowConnection
from gengui_stream.settings import Settings

WORTH_COMPARING: Final = 0.5
"""The share of the log that the live projections must have folded: with less they were lost, and the agents are
computing them again."""


@dataclass(frozen=True, slots=True)
class Live:
    """The checkpoints of the live projections, by partition, and what each partition's log had a moment later.
    `vouched`: the partitions whose owner has caught up. `paused`: those that an operator holds where they are."""

    offsets: Mapping[int, int]
    revisions: Mapping[int, int]
    vouched: Collection[int]
    paused: Collection[int]
    ends: Mapping[int, int]

    @property
    def lost(self) -> bool:
        """Whether the agents have to compute most of the rows again."""
        return not self.vouched and sum(self.offsets.values()) < WORTH_COMPARING * sum(self.ends.values())

    def level(self) -> dict[int, int]:
        """The offsets of the live projections."""
        return {partition: self.offsets.get(partition, 0) for partition in self.ends}

    def last(self) -> dict[int, int]:
        """The offsets at which the shadow takes over: those of the live projections, or the end of the log when they
        were lost."""
        return self.held_back(self.ends) if self.lost else self.level()

    def held_back(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """No further than the live checkpoint where a partition is paused: the next record may be the reason."""
        level = self.level()
        return {
            partition: min(offset, level.get(partition, 0)) if partition in self.paused else offset
            for partition, offset in offsets.items()
        }


async def live_positions(settings: Settings, connection: Connection, reader: LogReader) -> Live:
    rows = await connection.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, settings.events_topic)
    vouched = {row["partition"] for row in await connection.fetch(partition_owners.LIVE)}
    paused = {row["partition"] for row in await connection.fetch(pauses.LIST, settings.events_topic)}
    ends = await reader.ends()
    return Live(
        {row["partition"]: row["next_offset"] for row in rows},
        {row["partition"]: row["parked_revision"] for row in rows},
        vouched,
        paused,
        ends,
    )


async def shadow_offsets(settings: Settings, connection: Connection) -> dict[int, int]:
    rows = await ShadowConnection(connection).fetch(
        checkpoints.SELECT_OFFSETS, checkpoints.PROJECTION, settings.events_topic
    )
    found = {row["partition"]: row["next_offset"] for row in rows}
    return {partition: found.get(partition, 0) for partition in range(settings.events_partitions)}


async def ends_at(settings: Settings, reader: LogReader, upto: Position | datetime) -> dict[int, int]:
    """The offset before which each partition ends at that moment. Of a position, the moment at which its event was
    appended: events of other partitions appended before it are in. Raises PermanentError for a position or a moment
    that the log does not have."""
    ends = await reader.ends()
    if isinstance(upto, datetime):
        found = await reader.offsets_at(round(upto.timestamp() * 1000))
        if all(offset is None for offset in found.values()):
            raise PermanentError(f"the log has no event from {upto.isoformat()} on: leave --to out for all of it")
        return {partition: _or_end(found, partition, ends) for partition in ends}
    if upto.offset >= ends.get(upto.partition, 0):
        raise PermanentError(
            f"{upto} is beyond the end of the log: partition {upto.partition} ends at offset "
            f"{ends.get(upto.partition, 0)}"
        )
    record = await _record(settings, upto)
    found = await reader.offsets_at(record.timestamp or 0)
    return {partition: _or_end(found, partition, ends) for partition in ends} | {upto.partition: upto.offset + 1}


def _or_end(found: Mapping[int, int | None], partition: int, ends: Mapping[int, int]) -> int:
    offset = found.get(partition)
    return ends[partition] if offset is None else offset


async def _record(settings: Settings, at: Position) -> LogRecord:
    async with opened_lookup(settings) as log:
        found = await log.records(at.partition, {at.offset})
    if at.offset not in found:
        raise PermanentError(f"the log has no record at {at}")
    return found[at.offset]
