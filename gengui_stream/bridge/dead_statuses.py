"""Status messages that the bridge could not read: listed, delivered again, or discarded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gengui_stream.bridge.messages import DEAD_PREFIX, STATUS_STREAM
from gengui_stream.errors import PermanentError
from gengui_stream.redis_io.streams import StoredStream, StreamEntry

CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class DeadStatus:
    """`id`: of the dead letter; `entry_id`: of the message. `reason` is a stable code, `detail` a sentence."""

    id: str
    entry_id: str
    reason: str
    detail: str
    dead_at: datetime
    message: Mapping[str, str]


def dead_status(entry: StreamEntry) -> DeadStatus:
    """Total: any entry of the stream is one."""
    fields = entry.fields
    return DeadStatus(
        id=entry.id,
        entry_id=fields.get(f"{DEAD_PREFIX}entry_id", ""),
        reason=fields.get(f"{DEAD_PREFIX}reason", "unknown"),
        detail=fields.get(f"{DEAD_PREFIX}detail", ""),
        dead_at=datetime.fromtimestamp(entry.unix_ms / 1000, UTC),
        message={name: value for name, value in fields.items() if not name.startswith(DEAD_PREFIX)},
    )


class DeadStatuses:
    """Those on `DEAD_STREAM`. Methods raise TransientError while Redis is unavailable."""

    def __init__(self, stream: StoredStream) -> None:
        self._stream = stream

    async def listed(self, limit: int, reason: str | None = None) -> list[DeadStatus]:
        """The oldest first."""
        found: list[DeadStatus] = []
        after: str | None = None
        while len(found) < limit and (entries := await self._stream.entries(CHUNK, after=after)):
            found += _of_reason(entries, reason)
            after = entries[-1].id
        return found[:limit]

    async def find(self, entry_id: str) -> DeadStatus | None:
        entry = await self._stream.entry(entry_id)
        return None if entry is None else dead_status(entry)

    async def retry(self, status: DeadStatus, changes: Mapping[str, str] | None = None) -> None:
        """Delivers the message to the bridge again, as a new entry, with these fields changed. Raises PermanentError
        for a message that was deleted before the bridge read it."""
        message = {**status.message, **(changes or {})}
        if not message:
            raise PermanentError(f"the message of {status.id} is lost: discard it")
        await self._stream.move(status.id, STATUS_STREAM, message)

    async def discard(self, status: DeadStatus) -> None:
        await self._stream.remove(status.id)


def _of_reason(entries: Sequence[StreamEntry], reason: str | None) -> Iterator[DeadStatus]:
    for entry in entries:
        status = dead_status(entry)
        if reason is None or status.reason == reason:
            yield status
