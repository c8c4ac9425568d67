"""The messages that faust delivers to the agents: each holds all records of one partition in one fetch, not one record.

faust costs some 100 µs a message, which a batch of raw records pays once. Nothing is decoded on the way: a record that
cannot be decoded must reach the agent, which dead-letters it.
"""

from collections.abc import Callable

import faust
from faust.types import AppT, CodecArg, ConsumerMessage, Message
from faust.types.tuples import TP

from gengui_stream.errors import BugError
from gengui_stream.projecting.batches import RecordBatch


class BatchMessage(ConsumerMessage):
    """A faust message that carries a batch. Its offset is the batch's last, so that its ack covers the batch."""

    __slots__ = ("batch",)
    batch: RecordBatch

    @classmethod
    def of(cls, topic: str, batch: RecordBatch, generation_id: int) -> "BatchMessage":
        last = batch.records[-1]
        message = cls(
            topic,
            batch.partition,
            last.offset,
            (last.timestamp or 0) / 1000,
            0,
            None,
            None,
            b"",
            None,
            tp=TP(topic, batch.partition),
            generation_id=generation_id,
        )
        message.batch = batch
        return message


class BatchSchema(faust.Schema[bytes, RecordBatch]):
    """Passes a message's batch to the agent unchanged."""

    def loads_key(
        self,
        app: AppT,
        message: Message,
        *,
        loads: Callable[..., bytes] | None = None,
        serializer: CodecArg | None = None,
    ) -> bytes:
        return b""

    def loads_value(
        self,
        app: AppT,
        message: Message,
        *,
        loads: Callable[..., RecordBatch] | None = None,
        serializer: CodecArg | None = None,
    ) -> RecordBatch:
        if not isinstance(message, BatchMessage):
            raise BugError(f"a message of {message.topic} has no batch: the app does not use BatchTransport")
        return message.batch
