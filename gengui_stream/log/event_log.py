"""Appending to the log with an idempotent, non-transactional producer and `acks=all` (law 1)."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from aiokafka.errors import DuplicateSequenceNumber, KafkaError, MessageSizeTooLargeError

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.log.codec import (
    VALUE_MAX_BYTES,
    KeyedRecord,
    Undecodable,
    UnknownType,
    decode,
    encode_headers,
    encode_key,
    encode_value,
)
from gengui_stream.log.positions import Position
from gengui_stream.log.self_healing_producer import SelfHealingProducer
from gengui_stream.metrics import Metrics
from gengui_stream.settings import Settings
from gengui_stream.tracing.spans import NO_SPAN, Span, is_on, span
from schemas.events import Event

APPEND_TIMEOUT_S: Final = 20.0

_log = structlog.get_logger(__name__)


class Appender(Protocol):
    """Appends events to the log."""

    async def append(self, event: Event) -> Position: ...

    async def append_many(self, events: Sequence[Event]) -> list[Position]: ...


@dataclass(frozen=True, slots=True)
class _NewRecord:
    """`timestamp`: Unix milliseconds; None: now."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int | None = None

    @classmethod
    def of(cls, event: Event) -> "_NewRecord":
        return cls(encode_key(event), encode_fitting(event), encode_headers(event))

    @classmethod
    def again(cls, record: KeyedRecord) -> "_NewRecord":
        """With the headers of its event: other headers are not read, and not kept."""
        decoded = decode(record.key, record.value)
        headers = [] if isinstance(decoded, UnknownType | Undecodable) else encode_headers(decoded)
        return cls(record.key, record.value, headers, record.timestamp)


class EventLog:
    """Appends events and returns their positions. Call `start` before use; one instance a process is enough.

    Raises TransientError when the broker does not confirm in time: the event may or may not be on the log. The caller
    appends the same event (same id) again, and the fold ignores a duplicate.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics | None = None, *, append_s: float = APPEND_TIMEOUT_S
    ) -> None:
        """`append_s`: seconds after which an append that the brokers have not confirmed fails."""
        self._metrics = metrics
        self._append_s = append_s
        self._topic = settings.events_topic
        self._failed: tuple[float, str] | None = None
        self._producer = SelfHealingProducer(settings)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects. Raises TransientError when no broker is reachable."""
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def append(self, event: Event) -> Position:
        """Returns once every in-sync replica has the event."""
        return (await self.append_many([event]))[0]

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        """Returns the positions in the order of `events`. Events of one generation keep their order. Raises
        PermanentError, and appends none, when one of them exceeds VALUE_MAX_BYTES."""
        with self._span(events) as appending:
            positions = await self._send([_NewRecord.of(event) for event in events])
            if len(positions) == 1:
                partition, offset = positions[0].partition, positions[0].offset
                appending.set({"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset})
        if self._metrics is not None:
            self._metrics.count_appended(event.type for event in events)
        return positions

    def _span(self, events: Sequence[Event]) -> AbstractContextManager[Span]:
        if not is_on():
            return NO_SPAN
        known: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": self._topic,
            "messaging.operation.type": "send",
            "messaging.batch.message_count": len(events),
        }
        if len(events) == 1:
            known |= {"gengui.event_type": events[0].type, "gengui.generation_id": str(events[0].generation_id)}
        return span("append", "producer", parents=(event.traceparent for event in events), attributes=known)

    async def forward(self, records: Sequence[KeyedRecord]) -> None:
        """Appends records again, with their own keys, values and times, to the partitions of their keys."""
        await self._send([_NewRecord.again(record) for record in records])

    async def _send(self, events: Sequence[_NewRecord]) -> list[Position]:
        ends = asyncio.get_running_loop().time() + self._append_s
        try:
            # The time-out is the inner one, so that the producer sees it, and is replaced.
            async with self._producer.sending(self._append_s) as producer, asyncio.timeout_at(ends):
                sent = [
                    await producer.send(
                        self._topic, new.value, key=new.key, headers=new.headers, timestamp_ms=new.timestamp
                    )
                    for new in events
                ]
                records = await asyncio.gather(*sent)
                _check_known([record.offset for record in records])
        except MessageSizeTooLargeError as error:
            raise PermanentError(f"an event is larger than the broker takes: {error}") from error
        except (KafkaError, TimeoutError) as error:
            _log.warning("append_failed", events=len(events), error=repr(error))
            self._failed = (time.monotonic(), type(error).__name__)
            raise TransientError(f"the log did not confirm the append: {error!r}") from error
        self._failed = None
        return [Position(record.partition, record.offset) for record in records]

    def failing(self, within_s: float) -> str | None:
        """The error of the last append, if it failed in the last `within_s` seconds."""
        if self._failed is None or time.monotonic() - self._failed[0] > within_s:
            return None
        return self._failed[1]


class Forwarder(Protocol):
    """Appends records to the partitions of their keys."""

    async def forward(self, records: Sequence[KeyedRecord]) -> None: ...


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How records on a wrong partition reach the right one. `partitions`: of the topic."""

    forwarder: Forwarder
    partitions: int


def _check_known(offsets: Sequence[int]) -> None:
    """When the broker takes a batch for a repetition that it no longer remembers, aiokafka reports success with an
    offset below 0, and whether the batch is on the log is unknown. Sent again by a new producer, it is at worst a
    duplicate."""
    if any(offset < 0 for offset in offsets):
        raise DuplicateSequenceNumber


def encode_fitting(event: Event) -> bytes:
    """The value of the event's record. Raises PermanentError when it exceeds VALUE_MAX_BYTES."""
    value = encode_value(event)
    if len(value) > VALUE_MAX_BYTES:
        raise PermanentError(f"an event of {len(value)} bytes is larger than the log takes: {VALUE_MAX_BYTES}")
    return value
