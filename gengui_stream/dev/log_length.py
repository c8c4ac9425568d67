"""The embedded broker lists a whole partition for every read: whoever keeps a long log in it is told why it is slow."""

from typing import Final

from gengui_stream.postgres.pool import opened_pool
from gengui_stream.queries import histories
from gengui_stream.settings import Settings

LONG: Final = 20_000
"""Events. A read of the log takes a quarter of a second then (docs/adr/0004-embedded-broker.md)."""


async def long_log(settings: Settings, long_from: int = LONG) -> str | None:
    """What to say of the log; None while it is short. Raises TransientError while PostgreSQL is away."""
    async with opened_pool(settings, size=1) as pool:
        events = sum((await histories.projected(pool, settings.events_topic)).values())
    if events < long_from:
        return None
    return (
        f"the log holds {events:,} events, and the embedded broker's reads get slower with each one: "
        "set KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own, or remove .gengui to begin anew"
    )
