"""The checks behind `/readyz` of the API. They read, and create nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from api.context import ApiContext
from gengui_stream.errors import GenGuiError
from gengui_stream.log.ends import log_ends
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.recovery.pauses import pauses

CHECK_TIMEOUT_S: Final = 2.0
APPEND_FAILED_WITHIN_S: Final = 60.0

OK: Final = "ok"

ESSENTIAL: Final = frozenset({"postgres", "redis", "objects", "log"})
"""The servers without which a request fails. What the other checks find is a fault of the system: this process answers
as before, and so would every other, so none of them must be taken out of service."""


async def check_all(context: ApiContext) -> dict[str, str]:
    """`ok`, or the fault, by the name of the check."""
    checks = {
        "postgres": _postgres(context),
        "redis": context.redis.ping(),
        "objects": context.store.check(),
        "log": check_topic(context.settings),
        "redis_writes": _redis_writes(context),
        "log_appends": _log_appends(context),
        "projection": _projection(context),
    }
    return dict(zip(checks, await asyncio.gather(*map(_result, checks.values())), strict=True))


async def _result(check: "Coroutine[None, None, str | None]") -> str:
    """Abandons a check that neither ends in time nor reacts to its cancellation: asyncpg, for one, waits for a silent
    PostgreSQL to confirm a cancel request."""
    checking = asyncio.ensure_future(check)
    done, _ = await asyncio.wait({checking}, timeout=CHECK_TIMEOUT_S)
    if not done:
        checking.cancel()
        checking.add_done_callback(_forget)
        return f"no answer within {CHECK_TIMEOUT_S} s"
    error = checking.exception()
    if error is None:
        return checking.result() or OK
    if isinstance(error, GenGuiError):
        return type(error).__name__
    raise error


def _forget(checking: "asyncio.Future[str | None]") -> None:
    if not checking.cancelled():
        checking.exception()


async def _postgres(context: ApiContext) -> None:
    with transient_errors():
        await context.pool.fetchval("SELECT 1")


async def _redis_writes(context: ApiContext) -> str | None:
    """A server that does not answer is found by `redis`."""
    return await context.redis.refusal_of_writes()


async def _log_appends(context: ApiContext) -> str | None:
    """Whether a broker has room can only be seen by an append, and a probe must not append."""
    error = context.log.failing(APPEND_FAILED_WITHIN_S)
    return f"the last append failed: {error}" if error else None


async def _projection(context: ApiContext) -> str | None:
    ends = await log_ends(context.settings)(range(context.settings.events_partitions))
    paused = await pauses(context.pool, context.settings.events_topic)
    standing = context.standstill.observe(
        {partition: end for partition, end in ends.items() if partition not in paused},
        await checkpoints.projected(context.pool, context.settings.events_topic),
    )
    if not standing:
        return f"paused by an operator: partitions {sorted(paused)}" if paused else None
    partition, seconds = max(standing.items(), key=lambda item: item[1])
    return f"{len(standing)} partitions stand still, partition {partition} for {seconds:.0f} s"
