"""What a user prefers where a request leaves it open."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from gengui_stream.postgres.pool import Connection, PoolOrConnection, transient_errors

CACHED_S: Final = 5.0
"""How long a process may apply preferences that another process has changed."""

CACHED_MAX: Final = 10_000

FIND: Final = "SELECT preferences FROM accounts.users WHERE user_id = $1"
LOCK: Final = f"{FIND} FOR UPDATE"
SET: Final = "UPDATE accounts.users SET preferences = $2 WHERE user_id = $1"


class Preferences(BaseModel):
    """None: no preference. Width and height in pixels. Fields that a later release stored are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    width: int | None = None
    height: int | None = None
    model: str | None = None
    provider: str | None = None


NO_PREFERENCES: Final = Preferences()


async def find(connection: PoolOrConnection, user_id: UUID) -> Preferences:
    with transient_errors():
        return _read(await connection.fetchval(FIND, user_id))


async def lock(connection: Connection, user_id: UUID) -> Preferences:
    """No other transaction changes them until the end of the caller's."""
    with transient_errors():
        return _read(await connection.fetchval(LOCK, user_id))


async def store(connection: Connection, user_id: UUID, preferences: Preferences) -> None:
    document = None if preferences == NO_PREFERENCES else preferences.model_dump_json(exclude_none=True)
    with transient_errors():
        await connection.execute(SET, user_id, document)


def changed(preferences: Preferences, changes: Mapping[str, object]) -> Preferences:
    """Pure. A field with None is removed."""
    return Preferences.model_validate({**preferences.model_dump(), **changes})


def _read(document: str | None) -> Preferences:
    return NO_PREFERENCES if document is None else Preferences.model_validate_json(document)


class PreferencesCache:
    """For requests of generations: one read by primary key for each user in CACHED_S."""

    def __init__(self, pool: PoolOrConnection, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._known: OrderedDict[UUID, tuple[float, Preferences]] = OrderedDict()

    async def get(self, user_id: UUID) -> Preferences:
        known = self._known.get(user_id)
        if known is not None and known[0] > self._clock():
            return known[1]
        found = await find(self._pool, user_id)
        self._known[user_id] = (self._clock() + CACHED_S, found)
        self._known.move_to_end(user_id)
        if len(self._known) > CACHED_MAX:
            self._known.popitem(last=False)
        return found

    def forget(self, user_id: UUID) -> None:
        """After a change by this process."""
        self._known.pop(user_id, None)
