"""Pauses of partitions: the agents stop before the next record, whatever it is, until an operator resumes.

A pause is a row, which the owner of the partition reads every second and before its first record, so it outlives every
process. The jobs of a paused partition are not claimed: its states stand still while the log goes on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.settings import Settings

PAUSE: Final = """
INSERT INTO operations.paused_partitions (topic, partition, operator, reason) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING 1
"""

RESUME: Final = """
DELETE FROM operations.paused_partitions WHERE topic = $1 AND partition = $2 RETURNING paused_at
"""

LIST: Final = """
SELECT partition, operator, reason, paused_at FROM operations.paused_partitions WHERE topic = $1 ORDER BY partition
"""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a partition, why, and since when."""

    partition: int
    operator: str
    reason: str
    paused_at: datetime


async def pause(pool: Pool, settings: Settings, partitions: Collection[int], order: Order) -> list[int]:
    """Returns those that were not paused before. Raises PermanentError for a partition that the log does not have."""
    _check(settings, partitions)
    done: list[int] = []
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            for partition in sorted(set(partitions)):
                row = (settings.events_topic, partition, order.operator, order.reason)
                if await connection.fetchval(PAUSE, *row) is not None:
                    await write_act(connection, order, "pause", f"partition {partition}", {})
                    done.append(partition)
    return done


async def resume(pool: Pool, settings: Settings, partitions: Collection[int], order: Order) -> list[int]:
    """Returns those that were paused. Raises PermanentError for a partition that the log does not have."""
    _check(settings, partitions)
    done: list[int] = []
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            for partition in sorted(set(partitions)):
                since = await connection.fetchval(RESUME, settings.events_topic, partition)
                if since is not None:
                    await write_act(connection, order, "resume", f"partition {partition}", {"paused_at": since})
                    done.append(partition)
    return done


async def pauses(pool: Pool, topic: str) -> Mapping[int, Pause]:
    """By partition. Raises TransientError when PostgreSQL is unavailable."""
    with transient_errors():
        return {row["partition"]: Pause(*row) for row in await pool.fetch(LIST, topic)}


def _check(settings: Settings, partitions: Collection[int]) -> None:
    if strange := sorted(set(partitions) - set(range(settings.events_partitions))):
        raise PermanentError(f"{settings.events_topic} has no partition {strange[0]}")
