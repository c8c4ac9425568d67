"""The log in memory."""

from collections.abc import Mapping, Sequence
from typing import Self

from gengui_stream.errors import TransientError
from gengui_stream.log.codec import KeyedRecord, encode_key
from gengui_stream.log.event_log import encode_fitting
from gengui_stream.log.partitions import partition_of
from gengui_stream.log.positions import Position
from gengui_stream.log.unpacking.records import RawRecord
from gengui_stream.testing.clock import Clock
from schemas.events import Event


class InMemoryEventLog:
    """Appends to lists, one a partition, and reads them. `available`: while it is False, an append raises
    TransientError and appends nothing."""

    def __init__(self, clock: Clock | None = None, *, partitions: int = 4) -> None:
        self._clock = clock or Clock()
        self._partitions: tuple[list[RawRecord], ...] = tuple([] for _ in range(partitions))
        self.available = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.available = True

    async def stop(self) -> None:
        self.available = False

    async def append(self, event: Event) -> Position:
        return (await self.append_many([event]))[0]

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        self._check_available()
        now_ms = int(self._clock.now().timestamp() * 1000)
        new = [(encode_key(event), encode_fitting(event)) for event in events]
        return [self._add(key, value, now_ms) for key, value in new]

    async def forward(self, records: Sequence[KeyedRecord]) -> None:
        self._check_available()
        for record in records:
            self._add(record.key, record.value, record.timestamp)

    def read(self, start: Mapping[int, int] | None = None) -> list[RawRecord]:
        """Every record from the offsets in `start` on (default 0), each partition in order."""
        offsets = start or {}
        return [
            record for number, records in enumerate(self._partitions) for record in records[offsets.get(number, 0) :]
        ]

    def _check_available(self) -> None:
        if not self.available:
            raise TransientError("the log is unavailable")

    def _add(self, key: bytes | None, value: bytes | None, timestamp: int | None) -> Position:
        partition = partition_of(key or b"", len(self._partitions))
        records = self._partitions[partition]
        position = Position(partition, len(records))
        records.append(RawRecord(partition, position.offset, timestamp, key, value))
        return position
