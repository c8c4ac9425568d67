"""Facts about a Redis server: its state, the user's permissions, the readers of streams and channels."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from gengui_stream.errors import PermanentError
from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.round_trip import fastest

_PROBE: Final = "doctor"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`asked_at`: the local time at which the server's was `now`. `about`: the fields of INFO. `refused`: commands that
    the user may not run, or not on this system's keys."""

    now: datetime
    asked_at: datetime
    round_trip_s: float
    about: Mapping[str, str]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupReader:
    """One consumer of a group. `idle_s`: the time since its last read."""

    name: str
    idle_s: float
    pending: int


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """`waiting`: entries not yet delivered to the group that is furthest behind. A missing stream counts as empty."""

    length: int
    waiting: int
    readers: tuple[GroupReader, ...]


async def inspect_redis(redis: SharedRedis, streams: Sequence[str]) -> RedisFacts:
    """Writes nothing: its commands name keys that do not exist. Raises TransientError when the server is unavailable,
    and PermanentError when it is not a Redis server or refuses to answer."""
    try:
        return await _inspect_redis(client_of(redis), streams)
    except RedisError as error:
        raise PermanentError(f"Redis: {type(error).__name__}: {error}") from error


async def _inspect_redis(redis: Redis, streams: Sequence[str]) -> RedisFacts:
    refused: list[str] = []
    with transient_errors():
        trip = await fastest(redis.time)
        seconds, microseconds = trip.answer
        about = await _about(redis, refused)
        for name, attempt in _attempts(redis, streams).items():
            await _try(name, attempt, refused)
    return RedisFacts(
        now=datetime.fromtimestamp(seconds + microseconds / 1e6, UTC),
        asked_at=trip.middle,
        round_trip_s=trip.seconds,
        about=about,
        refused=tuple(refused),
    )


def _attempts(redis: Redis, streams: Sequence[str]) -> dict[str, Callable[[], Awaitable[object]]]:
    """One harmless command of each kind that the roles use, by the name shown when it is refused."""
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        f"HDEL jobs:{_PROBE}": lambda: redis.hdel(f"jobs:{_PROBE}", "field"),
        f"PUBLISH gengui:{_PROBE}": lambda: redis.publish(f"gengui:{_PROBE}", ""),
        "EVAL": lambda: redis.eval("return 1", 0),
    }
    for stream in streams:
        added = f"{stream}:{_PROBE}"
        attempts[f"XADD {added}"] = partial(redis.xadd, added, {"field": ""}, nomkstream=True)
        attempts[f"XACK {stream}"] = partial(redis.xack, stream, _PROBE, "0-0")
    return attempts


async def _about(redis: Redis, refused: list[str]) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in (await redis.info()).items()}
    except NoPermissionError:
        refused.append("INFO")
        return {}


async def _try(name: str, attempt: Callable[[], Awaitable[object]], refused: list[str]) -> None:
    try:
        await attempt()
    except NoPermissionError:
        refused.append(name)


async def inspect_stream(redis: SharedRedis, stream: str) -> StreamFacts:
    """Raises TransientError when the server is unavailable."""
    client = client_of(redis)
    with transient_errors():
        length = int(await client.xlen(stream))
        try:
            groups = [_texts(group) for group in await client.xinfo_groups(stream)]
        except ResponseError:  # there is no such stream
            return StreamFacts(length, 0, ())
        readers = [one for group in groups for one in await _readers(client, stream, group["name"])]
    return StreamFacts(length, max((_number(group.get("lag")) for group in groups), default=length), tuple(readers))


async def _readers(redis: Redis, stream: str, group: str) -> list[GroupReader]:
    found = [_texts(consumer) for consumer in await redis.xinfo_consumers(stream, group)]
    return [GroupReader(one["name"], _number(one["idle"]) / 1000, _number(one["pending"])) for one in found]


async def count_subscribers(redis: SharedRedis, channel: str) -> int:
    """The number of processes subscribed to the channel. Raises TransientError when the server is unavailable."""
    with transient_errors():
        answer = await client_of(redis).pubsub_numsub(channel)
    return sum(int(count) for _, count in answer)


async def count_entries(redis: SharedRedis, stream: str) -> int:
    """The number of entries; 0 when the stream does not exist. Raises TransientError when the server is unavailable."""
    with transient_errors():
        return int(await client_of(redis).xlen(stream))


def _texts(fields: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in cast(Mapping[object, object], fields).items()}


def _number(text: str | None) -> int:
    """0 for None: Redis before 7 has no lag, and later versions not always."""
    return int(text) if text is not None and text.isdigit() else 0
