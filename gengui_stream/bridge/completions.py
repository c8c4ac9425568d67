"""Checks the completions that workers report: is the object there, and is it not another user's?

A completion about which a server does not answer in time gets no outcome, and neither does one whose generation the
projection may not have yet: it is delivered again later, and holds no other status. A server that did not answer is
not asked again at once.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias
from uuid import UUID

import structlog

from gengui_stream.bridge.messages import InvalidMessage, foreign_object, unknown_owner, without_output
from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import TransientError
from gengui_stream.log.partitions import partition_of
from gengui_stream.media.object_keys import is_plain, owner_of
from gengui_stream.media.object_store import Bucket, ObjectFacts, looked_up
from gengui_stream.postgres.pool import REQUEST_WAITS, Pool, open_pool
from gengui_stream.projections import generation_requests, partition_owners
from gengui_stream.settings import Settings
from schemas.events import GenerationCompleted, GenerationFailed

ANSWER_S: Final = 5.0
"""A server that takes longer counts as unavailable."""

PAUSE_MAX_S: Final = 30.0

Checked: TypeAlias = GenerationCompleted | GenerationFailed | InvalidMessage

_log = structlog.get_logger(__name__)


Known: TypeAlias = Mapping[UUID, UUID | None]
"""The owner of each generation; None: there is no such generation. Those that the projection may not have yet are left
out."""


class Owners(Protocol):
    async def of(self, generation_ids: Collection[UUID]) -> Known:
        """Raises TransientError while the projection is unavailable."""
        ...


class ProjectedOwners:
    """Connects when it is first asked: the bridge starts without PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Pool | None = None

    async def of(self, generation_ids: Collection[UUID]) -> Known:
        if self._pool is None:
            self._pool = await open_pool(self._settings, size=1, waits=REQUEST_WAITS)
        live = await partition_owners.live(self._pool)  # before the owners: a partition may become live in between
        owners = await generation_requests.owners(self._pool, generation_ids)
        return {each: owners.get(each) for each in generation_ids if each in owners or self._home_of(each) in live}

    def _home_of(self, generation_id: UUID) -> int:
        return partition_of(str(generation_id).encode(), self._settings.events_partitions)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()


class CompletionChecks:
    """`answer_s`: how long a check waits for the servers."""

    def __init__(
        self,
        store: Bucket,
        owners: Owners,
        *,
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._owners = owners
        self._answer_s = answer_s
        self._clock = clock
        self._ask_at = 0.0
        self._failures = 0
        self._silent = False

    async def check(self, events: Sequence[GenerationCompleted]) -> Mapping[UUID, Checked]:
        """By the id of the event: the event itself, or what takes its place. Without those that must wait."""
        if not events or self._clock() < self._ask_at:
            return {}
        self._silent = False
        owned = [event.generation_id for event in events if owner_of(event.outputs[0].object_key) is not None]
        owners, objects = await asyncio.gather(
            self._owners_of(owned),
            self._objects(key for event in events if is_plain(key := event.outputs[0].object_key)),
        )
        checked = ((event.id, _outcome(event, owners, objects)) for event in events)
        found = {event_id: outcome for event_id, outcome in checked if outcome is not None}
        waits = self._silent and not found
        self._failures = self._failures + 1 if waits else 0
        self._ask_at = self._clock() + (backoff_seconds(self._failures, salt=0, ceiling=PAUSE_MAX_S) if waits else 0)
        return found

    async def _owners_of(self, generation_ids: Collection[UUID]) -> Known:
        """Empty when PostgreSQL does not answer."""
        if not generation_ids:
            return {}
        try:
            async with asyncio.timeout(self._answer_s):
                return await self._owners.of(generation_ids)
        except (TransientError, TimeoutError) as error:
            self._unanswered("PostgreSQL", error)
            return {}

    async def _objects(self, keys: Iterable[str]) -> Mapping[str, ObjectFacts | None]:
        """Without the keys about which the store does not answer."""
        wanted, failures = list(dict.fromkeys(keys)), list[Exception]()
        found = await asyncio.gather(*(self._object(key, failures) for key in wanted))
        if failures:
            self._unanswered("object store", failures[-1])
        return {key: facts for one in found for key, facts in one.items()}

    async def _object(self, key: str, failures: list[Exception]) -> Mapping[str, ObjectFacts | None]:
        try:
            async with asyncio.timeout(self._answer_s):
                return await looked_up(self._store, [key])
        except (TransientError, TimeoutError) as error:
            failures.append(error)
            return {}

    def _unanswered(self, server: str, error: Exception) -> None:
        self._silent = True
        _log.warning("completions_wait", server=server, error=str(error) or type(error).__name__)


def _outcome(event: GenerationCompleted, owners: Known, objects: Mapping[str, ObjectFacts | None]) -> Checked | None:
    key = event.outputs[0].object_key
    if not is_plain(key):  # a URL, for example: no store has an object under it
        return without_output(event)
    owner = owner_of(key)
    if owner is not None:
        if event.generation_id not in owners:
            return None
        if (of_generation := owners[event.generation_id]) is None:
            return unknown_owner(event)
        if of_generation != owner:
            return foreign_object(event)
    if key not in objects:
        return None
    return event if objects[key] is not None else without_output(event)
