"""Prepares a system for its roles: tables, users with keys, topic, bucket."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from gengui_stream.accounts.keys.api_keys import authenticate, seed_user
from gengui_stream.accounts.principals import Role
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.stack import Part
from gengui_stream.errors import TransientError
from gengui_stream.log.topics import ensure_topic
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.migrations import migrate
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.settings import Settings

USERS: Final[Mapping[str, Role]] = {"demo": "user", "worker": "worker"}
WITHIN_S: Final = 60.0


class Preparation:
    """The preparation of one system. `steps`, by the server that each needs, may be repeated, and raise TransientError
    when that server is not available within a minute. `keys` exist after all steps: those of `demo` and `worker`,
    from the file `kept`, or new ones when those are no longer valid."""

    def __init__(self, settings: Settings, kept: Path, within_s: float = WITHIN_S) -> None:
        self._settings = settings
        self._within_s = within_s
        self._kept = kept
        self.keys: dict[str, str] = {}

    @property
    def steps(self) -> Mapping[Part, Callable[[], Awaitable[None]]]:
        attempts: Mapping[Part, Callable[[], Awaitable[None]]] = {
            "postgres": self._database,
            "kafka": self._topic,
            "seaweed": self._bucket,
        }
        return {part: partial(_retried, attempt, part, self._within_s) for part, attempt in attempts.items()}

    async def run(self) -> None:
        """Runs all steps, for running servers."""
        await asyncio.gather(*(step() for step in self.steps.values()))

    async def _database(self) -> None:
        await migrate(self._settings.database_dsn)
        self.keys = await _keys(self._settings, self._kept)

    async def _topic(self) -> None:
        await ensure_topic(self._settings)

    async def _bucket(self) -> None:
        async with open_object_store(self._settings) as store:
            await store.ensure_bucket()


async def _retried(attempt: Callable[[], Awaitable[None]], part: Part, within_s: float) -> None:
    failures: list[TransientError] = []

    async def tried() -> None:
        try:
            await attempt()
        except TransientError as error:
            failures.append(error)
            raise

    try:
        async with asyncio.timeout(within_s):
            await retry_transient(tried, asyncio.Event(), operation=f"preparing {part}")
    except TimeoutError as error:
        reason = failures[-1] if failures else f"{part} does not answer"
        raise TransientError(f"not available within {within_s:g} s: {reason}") from error


async def _keys(settings: Settings, kept: Path) -> dict[str, str]:
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
