"""Redis Streams by types, so that misuse does not type-check (law 9).

ProducerStreams    adds entries on the shared client; cannot read
BlockingConsumer   owns a dedicated connection, which it opens from Settings
ConsumerStreams    a BlockingConsumer that is a member of a consumer group; `consume` waits for entries
StreamWatcher      a BlockingConsumer that waits for entries, whatever groups read
StoredStream       reads, moves and removes the entries of a stream without groups
StreamWatcher      waits until entries are added, and consumes none; on its own connection
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias, cast

from redis.exceptions import ResponseError
from redis.typing import EncodableT, FieldT

from gengui_stream.redis_io.clients import ANSWER_TIMEOUT_S, client_of, open_dedicated, transient_errors
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings

BEGINNING: Final = "0-0"

_RawEntry: TypeAlias = tuple[str | None, Mapping[str, str] | None]
_ReadReply: TypeAlias = list[tuple[str, list[_RawEntry]]]
_ClaimReply: TypeAlias = tuple[str, list[_RawEntry], list[str]] | tuple[str, list[_RawEntry]]  # the latter: Redis 6


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry. `fields` is empty when the entry was deleted while pending. Bytes that are not UTF-8 are lone
    surrogates in the texts."""

    id: str
    fields: Mapping[str, str]

    @property
    def unix_ms(self) -> int:
        """The time of the entry by Redis' clock, in Unix milliseconds."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Claimed:
    """Entries claimed from other members, the start of the next call (`BEGINNING`: the scan is complete), and the ids
    of entries that were deleted before they were acknowledged: they are no longer pending, and lost."""

    entries: Sequence[StreamEntry]
    next_start: str
    lost: Sequence[str]


class ProducerStreams:
    """Adds entries, whose fields are texts. Raises TransientError while Redis is unavailable: the entry may or may not
    have been added."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = client_of(redis)

    async def add(self, stream: str, fields: Mapping[str, str], *, max_length: int | None = None) -> str:
        """The id of the new entry. `max_length` trims the oldest entries beyond about that number."""
        with transient_errors():
            return str(await self._redis.xadd(stream, _encodable(fields), maxlen=max_length))

    async def add_many(
        self, stream: str, rows: Iterable[Mapping[str, str]], *, max_length: int | None = None
    ) -> list[str]:
        """The ids, in the order of `rows`; one round trip. `max_length` trims as in `add`."""
        pipeline = self._redis.pipeline(transaction=False)
        for fields in rows:
            pipeline.xadd(stream, _encodable(fields), maxlen=max_length)
        with transient_errors():
            return [str(entry_id) for entry_id in await pipeline.execute()]

    async def length(self, stream: str) -> int:
        """The number of entries; 0 when the stream does not exist."""
        with transient_errors():
            return int(await self._redis.xlen(stream))


class BlockingConsumer:
    """Owns a dedicated connection, so that a blocking command delays no other user. For one task at a time: a second
    call waits for the blocking read of the first."""

    def __init__(self, settings: Settings, *, longest_wait_s: float) -> None:
        self._redis = open_dedicated(settings, answer_timeout=longest_wait_s + ANSWER_TIMEOUT_S)
        self._longest_wait_s = longest_wait_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._redis.aclose()


class ConsumerStreams(BlockingConsumer):
    """One member of a consumer group of one stream. An entry read or claimed belongs to this member until acknowledged.

    Every method raises TransientError while Redis is unavailable. A missing group (Redis lost its data) is created
    again.
    """

    def __init__(self, settings: Settings, stream: str, group: str, consumer: str, *, longest_wait_s: float) -> None:
        super().__init__(settings, longest_wait_s=longest_wait_s)
        self._stream = stream
        self._group = group
        self._consumer = consumer

    async def create_group(self) -> None:
        """Creates the group, and the stream, if missing; a new group begins with the oldest entry."""
        try:
            with transient_errors():
                await self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def own_pending(self, count: int, *, after: str = BEGINNING) -> list[StreamEntry]:
        """Entries that this member has read and not acknowledged, oldest first, such as before a restart under the same
        name."""
        return await self._read(after, count, None)

    async def read_new(self, count: int) -> list[StreamEntry]:
        """At most `count` entries that no member has read; does not wait, and is empty when there are none."""
        return await self._read(">", count, None)

    async def consume(self, count: int, wait_s: float | None = None) -> list[StreamEntry]:
        """At most `count` new entries as soon as there is one; empty after `wait_s` (default and maximum:
        `longest_wait_s`)."""
        seconds = min(self._longest_wait_s if wait_s is None else wait_s, self._longest_wait_s)
        return await self._read(">", count, max(1, int(seconds * 1000)))

    async def claim_abandoned(self, count: int, *, idle_ms: int, start: str = BEGINNING) -> Claimed:
        """Claims entries that have been pending at any member for `idle_ms`."""
        try:
            with transient_errors():
                reply = await self._redis.xautoclaim(
                    self._stream, self._group, self._consumer, idle_ms, start_id=start, count=count
                )
        except ResponseError as error:
            await self._heal(error)
            return Claimed((), BEGINNING, ())
        return _claimed(cast(_ClaimReply, reply))

    async def ack(self, entry_ids: Collection[str]) -> None:
        """Acknowledges the entries; no member reads them again."""
        if entry_ids:
            with transient_errors():
                await self._redis.xack(self._stream, self._group, *entry_ids)

    async def trim(self, kept_ms: int) -> int:
        """Removes the entries that are older than `kept_ms` and that every group of the stream has acknowledged.
        Returns their number."""
        try:
            with transient_errors():
                groups = await self._redis.xinfo_groups(self._stream)
                bounds = [await self._first_needed(group) for group in groups]
                seconds, _ = await self._redis.time()
                oldest = min([*bounds, (int(seconds) * 1000 - kept_ms, 0)])
                return int(await self._redis.xtrim(self._stream, minid=f"{oldest[0]}-{oldest[1]}", approximate=False))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return 0

    async def _first_needed(self, group: Mapping[str, object]) -> tuple[int, int]:
        """The first entry that the group has not acknowledged, or the last one that it has read."""
        if group["pending"]:
            summary = await self._redis.xpending(self._stream, str(group["name"]))
            return _parts(str(summary["min"]))
        return _parts(str(group["last-delivered-id"]))

    async def leave(self) -> None:
        """Removes this member from the group, unless it has pending entries."""
        with transient_errors():
            # XPENDING, because reading the entries would reset the idle time after which others claim them.
            pending = await self._redis.xpending_range(self._stream, self._group, "-", "+", 1, self._consumer)
            if not pending:
                await self._redis.xgroup_delconsumer(self._stream, self._group, self._consumer)

    async def _read(self, after: str, count: int, block_ms: int | None) -> list[StreamEntry]:
        try:
            with transient_errors():
                reply = await self._redis.xreadgroup(
                    self._group, self._consumer, {self._stream: after}, count=count, block=block_ms
                )
        except ResponseError as error:
            await self._heal(error)
            return []
        return [entry for _, entries in cast(_ReadReply, reply) for entry in _entries(entries)]

    async def _heal(self, error: ResponseError) -> None:
        if not str(error).startswith("NOGROUP"):
            raise error
        await self.create_group()


class StoredStream:
    """The entries of a stream that no group reads. Raises TransientError while Redis is unavailable."""

    def __init__(self, redis: SharedRedis, stream: str) -> None:
        self._redis = client_of(redis)
        self._stream = stream

    async def entries(self, count: int, *, after: str | None = None) -> list[StreamEntry]:
        """The oldest entries, or those after this one."""
        return await self._range("-" if after is None else f"({after}", "+", count)

    async def entry(self, entry_id: str) -> StreamEntry | None:
        return next(iter(await self._range(entry_id, entry_id, 1)), None)

    async def move(self, entry_id: str, stream: str, fields: Mapping[str, str]) -> None:
        """Removes the entry, and adds these fields to the other stream, in one transaction."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xadd(stream, _encodable(fields))
        pipeline.xdel(self._stream, entry_id)
        with transient_errors():
            await pipeline.execute()

    async def remove(self, entry_id: str) -> None:
        with transient_errors():
            await self._redis.xdel(self._stream, entry_id)

    async def _range(self, first: str, last: str, count: int) -> list[StreamEntry]:
        with transient_errors():
            return _entries(cast(list[_RawEntry], await self._redis.xrange(self._stream, first, last, count) or []))


class StreamWatcher(BlockingConsumer):
    """Waits for new entries of a stream, whatever its groups read."""

    def __init__(self, settings: Settings, stream: str, *, longest_wait_s: float) -> None:
        super().__init__(settings, longest_wait_s=longest_wait_s)
        self._stream = stream
        self._block_ms = max(1, int(longest_wait_s * 1000))
        self._seen: str | None = None

    async def wait(self) -> bool:
        """True as soon as an entry was added since the last call, and at the first call; False after the longest wait.
        Raises TransientError while Redis is unavailable; entries added meanwhile count at the next call."""
        with transient_errors():
            if self._seen is None:
                self._seen = await self._last()
                return True
            if not await self._redis.xread({self._stream: self._seen}, count=1, block=self._block_ms):
                return False
            self._seen = await self._last()
            return True

    async def _last(self) -> str:
        """The id of the last entry ever added: reading the entries themselves would cost their prompts."""
        try:
            return str((await self._redis.xinfo_stream(self._stream))["last-generated-id"])
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return BEGINNING


def _parts(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _entries(raw: Iterable[_RawEntry]) -> list[StreamEntry]:
    return [StreamEntry(entry_id, fields or {}) for entry_id, fields in raw if entry_id is not None]


def _claimed(reply: _ClaimReply) -> Claimed:
    lost = reply[2] if len(reply) == 3 else []
    return Claimed(_entries(reply[1]), reply[0], lost)


def _encodable(fields: Mapping[str, str]) -> dict[FieldT, EncodableT]:
    return dict(fields.items())
