"""The shared client, and the classification of Redis' errors as transient.

The shared client never runs a blocking command, which would delay all its other users. Blocking reads belong to
`streams.ConsumerStreams`, subscriptions to `notifications.NotificationSubscriber`, each on its own connection. Outside
this package the shared client is a `SharedRedis`, on which no command can be run.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gengui_stream.errors import BugError, TransientError, is_closed_connection, reason
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings
from gengui_stream.tls.refusals import REDIS, refusal

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
SHARED_CONNECTIONS: Final = 16
LIMITS_ANSWER_TIMEOUT_S: Final = 1.0

REFUSED: Final = re.compile(r"Error -?\d+ connecting to (\S+?)\.? (.+?)\.?")
"""As redis-py has the address and the words of the operating system."""

CONNECTING: Final = re.compile(r"connecting to (\S+:\d+)")

TRANSIENT: Final = (
    OSError,
    TimeoutError,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
    redis_errors.NoPermissionError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
)
"""Errors that end when the server is available again, has memory again, has failed over, or an operator has granted a
right: Redis is not needed for everything, so a missing one ends no role."""

TRANSIENT_REPLIES: Final = (
    "BUSY ",  # a slow script
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",  # a full disk
    "NOAUTH",
    "NOREPLICAS",
    "NOMASTERLINK",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",  # a primary became a replica, or a key its own stream, under a blocked read
)
"""First words of replies that pass when the server is available, has room or has failed over. From the sources of Redis
7.4 and Valkey 8 (`shared.*err` in server.c, `unblockClientOnError` in blocked.c); redis-py has a class for some."""


class _OpenRedis(SharedRedis):
    def __init__(self, client: Redis) -> None:
        self.client = client


def shared(client: Redis) -> SharedRedis:
    """The client as the rest of the system holds it."""
    return _OpenRedis(client)


def client_of(redis: SharedRedis) -> Redis:
    """For the modules of `redis_io`."""
    if not isinstance(redis, _OpenRedis):
        raise BugError("a SharedRedis comes from `shared`")
    return redis.client


def open_client(settings: Settings) -> Redis:
    """A client over a small pool, for non-blocking commands. Connects when first used; texts are `str`, and bytes that
    are not UTF-8 are read and written unchanged as lone surrogates.

    It never repeats a failed command: the caller knows whether a repetition is safe. It replaces a connection that the
    server has closed before it sends a command.
    """
    return _client(settings, connections=SHARED_CONNECTIONS, answer_timeout=ANSWER_TIMEOUT_S)


def open_for_limits(settings: Settings) -> Redis:
    """A client for the counts of every request: it gives up early, as a request waits for it."""
    return _client(settings, connections=SHARED_CONNECTIONS, answer_timeout=LIMITS_ANSWER_TIMEOUT_S)


def open_dedicated(settings: Settings, *, answer_timeout: float | None) -> Redis:
    """A client with one connection, for one user that blocks on it. `answer_timeout`: in seconds; None waits without
    limit."""
    return _client(settings, connections=1, answer_timeout=answer_timeout)


@asynccontextmanager
async def opened_client(settings: Settings) -> AsyncIterator[Redis]:
    """`open_client`, closed at the end."""
    redis = open_client(settings)
    try:
        yield redis
    finally:
        await redis.aclose()


def _client(settings: Settings, *, connections: int, answer_timeout: float | None) -> Redis:
    pool = BlockingConnectionPool.from_url(
        settings.redis_dsn,
        max_connections=connections,
        timeout=ANSWER_TIMEOUT_S,
        protocol=2,
        decode_responses=True,
        encoding_errors="surrogateescape",
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=answer_timeout,
        retry=Retry(NoBackoff(), 0),
        **_keepalive(settings),
    )
    return Redis.from_pool(pool)


def _keepalive(settings: Settings) -> dict[str, object]:
    """Detects a peer that vanished without closing the connection within half a minute, also for a reader that only
    waits."""
    if settings.redis_dsn.startswith("unix://"):
        return {}
    options = {socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
    if hasattr(socket, "TCP_KEEPIDLE"):
        options[socket.TCP_KEEPIDLE] = 15
    return {"socket_keepalive": True, "socket_keepalive_options": options}


@contextmanager
def transient_errors() -> Iterator[None]:
    """Raises TransientError for Redis' transient errors; other errors pass unchanged. Also raises CancelledError for a
    cancellation that got lost: on Python 3.11 redis-py's `wait_for` suppresses one that arrives as its command is
    sent."""
    cancellations = _cancellations()
    try:
        yield
    except TRANSIENT as error:
        raise refusal(error, _server(error), REDIS) or _unavailable(error) from error
    except redis_errors.ResponseError as error:
        if not str(error).startswith(TRANSIENT_REPLIES):
            raise
        raise TransientError(f"Redis: {error}") from error
    except RuntimeError as error:
        if not is_closed_connection(error):
            raise
        raise TransientError(f"Redis: {error}") from error
    if _cancellations() > cancellations:
        raise asyncio.CancelledError


def _server(error: Exception) -> str:
    """With its address where the message has it."""
    found = CONNECTING.search(str(error))
    return f"Redis at {found[1]}" if found else "Redis"


def _unavailable(error: Exception) -> TransientError:
    refused = REFUSED.fullmatch(str(error))
    return TransientError(f"Redis at {refused[1]}: {refused[2]}" if refused else f"Redis: {reason(error)}")


def _cancellations() -> int:
    """The number of times that the running task was cancelled."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop
        return 0
    return task.cancelling() if task is not None else 0
