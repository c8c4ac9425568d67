"""What has to be there before the first role starts: tables, topic, bucket, users with keys."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import asyncpg

from gengui_stream.accounts.api_keys import Role, authenticate, seed_user
from gengui_stream.dev.private_files import write_private
from gengui_stream.errors import TransientError
from gengui_stream.lifecycle import persist
from gengui_stream.log.topics import ensure_topic
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.migrations import migrate
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings

USERS: Final[Mapping[str, Role]] = {"demo": "user", "worker": "worker"}
PATIENCE_S: Final = 60.0


async def prepare(settings: Settings) -> None:
    """Raises TransientError when a server does not come up within a minute."""

    async def objects() -> None:
        async with open_object_store(settings) as store:
            await store.ensure_bucket()

    async def topic() -> None:
        await ensure_topic(settings)

    async def tables() -> None:
        try:
            await migrate(settings.database_dsn)
        except (OSError, asyncpg.PostgresConnectionError) as error:
            raise TransientError(str(error)) from error

    for attempt in (tables, topic, objects):
        await _patiently(attempt)


async def _patiently(attempt: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await persist(attempt, asyncio.Event(), what="preparing")
    except TimeoutError as error:
        raise TransientError("a server of the stack did not come up in time; see the logs") from error


async def keys(settings: Settings, kept: Path) -> dict[str, str]:
    """A key each for `demo` and `worker`: those kept in the file, or new ones when these are no longer good."""
    known = _known(kept)
    async with opened_pool(settings, size=1) as pool:
        for name, role in USERS.items():
            if name not in known or await authenticate(pool, known[name]) is None:
                known[name] = await seed_user(pool, f"{name}@example.com", role)
    write_private(kept, json.dumps(known))
    return known


def _known(kept: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    return found
