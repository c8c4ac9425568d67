"""Facts about a Redis server: its state, the permissions of the user, the readers of streams and channels."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from gengui_stream.errors import PermanentError
from gengui_stream.redis_io.clients import transient_errors
from gengui_stream.round_trip import fastest

_PROBE: Final = "doctor"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`asked_at`: our time when the server's was `now`. `about`: the fields of INFO. `refused`: commands that the user
    may not use, or not on our keys."""

    now: datetime
    asked_at: datetime
    round_trip_s: float
    about: Mapping[str, str]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupReader:
    """One consumer of a group: `idle_s` since it last read or tried to."""

    name: str
    idle_s: float
    pending: int


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """`waiting`: entries that no consumer of the group was given yet; of the group that is furthest behind. A stream
    that there is not is empty."""

    length: int
    waiting: int
    readers: tuple[GroupReader, ...]


async def inspect_redis(redis: Redis, streams: Sequence[str]) -> RedisFacts:
    """Writes nothing: what it tries is about keys that there are not. Raises TransientError without a server, and
    PermanentError when what answers is no Redis server, or refuses to answer."""
    try:
        return await _inspect_redis(redis, streams)
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
    """Commands of each kind that roles use, without an effect, by what is shown of a refusal."""
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


async def inspect_stream(redis: Redis, stream: str) -> StreamFacts:
    """Raises TransientError without a server."""
    with transient_errors():
        length = int(await redis.xlen(stream))
        try:
            groups = [_texts(group) for group in await redis.xinfo_groups(stream)]
        except ResponseError:  # there is no such stream
            return StreamFacts(length, 0, ())
        readers = [one for group in groups for one in await _readers(redis, stream, group["name"])]
    return StreamFacts(length, max((_number(group.get("lag")) for group in groups), default=length), tuple(readers))


async def _readers(redis: Redis, stream: str, group: str) -> list[GroupReader]:
    found = [_texts(consumer) for consumer in await redis.xinfo_consumers(stream, group)]
    return [GroupReader(one["name"], _number(one["idle"]) / 1000, _number(one["pending"])) for one in found]


async def count_subscribers(redis: Redis, channel: str) -> int:
    """Processes that listen on the channel. Raises TransientError without a server."""
    with transient_errors():
        answer = await redis.pubsub_numsub(channel)
    return sum(int(count) for _, count in answer)


async def count_entries(redis: Redis, stream: str) -> int:
    """Of a stream; none where there is no such stream. Raises TransientError without a server."""
    with transient_errors():
        return int(await redis.xlen(stream))


def _texts(fields: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in cast(Mapping[object, object], fields).items()}


def _number(text: str | None) -> int:
    """Redis before 7 knows no lag, and later ones not always."""
    return int(text) if text is not None and text.isdigit() else 0
