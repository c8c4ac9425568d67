"""Leases of queued jobs, for workers that reach the queue over HTTP alone.

A leased job is not in the stream, where Redis workers would read it, until its lease ends: by its time, or because the
worker gives it back. Every step is one script, so that each job is queued or leased, and leased once.

A lease is bound to the API key that claimed it: with another key it is refused, even by a worker that knows it. The
argument `key` is the id of the key of a request; without it every lease is accepted, as from operators.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TypeAlias, cast
from uuid import UUID

from gengui_stream.errors import BugError
from gengui_stream.providers.local.redis_keys import (
    INDEX_MAX,
    JOB_KEPT_S,
    LEASES,
    QUEUE_STREAM,
    WORKER_GROUP,
    job_key,
    lease_key,
    model_index,
)
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.redis_io.scripts import Script


@dataclass(frozen=True, slots=True)
class LeasedEntry:
    """An entry of the queue under a lease. `generation_id` is None for an entry that names none, and that is not
    leased. `deliveries`: how often the job was leased, this time included."""

    fields: Mapping[str, str]
    lease: str
    expires_at: datetime
    deliveries: int
    generation_id: UUID | None


@dataclass(frozen=True, slots=True)
class Held:
    """The lease counts until `expires_at`. `attempt` is None for an entry of the original service."""

    expires_at: datetime
    attempt: int | None
    worker: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Another worker has the job, or it is queued again. `superseded`: a later attempt has replaced this one."""

    superseded: bool = False


@dataclass(frozen=True, slots=True)
class LeaseOfAnotherKey:
    """The lease counts, and was claimed with another API key."""


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """This worker has ended the job with an event of this type."""

    event_type: str


@dataclass(frozen=True, slots=True)
class JobUnknown:
    """Redis knows nothing of the job: no worker ever had it, or Redis lost its data."""


LeaseState: TypeAlias = Held | LeaseLost | LeaseOfAnotherKey | LeaseEnded | JobUnknown


class JobLeases:
    """Methods raise TransientError while Redis is unavailable; a claim may have leased a job then, which is queued
    again once that lease ends."""

    def __init__(self, redis: SharedRedis) -> None:
        self._claim = Script(redis, _script("claim.lua"))
        self._hold = Script(redis, _script("hold.lua"))
        self._finish = Script(redis, _script("finish.lua"))
        self._requeue = Script(redis, _script("requeue.lua"))
        self._keys = Script(redis, _script("keys.lua"))

    async def claim(
        self, models: Collection[str], lease: str, lease_s: float, worker: str = "", key: str = ""
    ) -> LeasedEntry | None:
        """The oldest queued entry, of these models if any are given. `lease`: a new token."""
        keys = [QUEUE_STREAM, LEASES, *(model_index(model) for model in sorted(models))]
        args = [WORKER_GROUP, lease, str(int(lease_s * 1000)), str(JOB_KEPT_S), worker, key]
        reply = await self._claim(keys, args)
        if not reply:
            return None
        found, pairs, expires_ms, deliveries = cast(tuple[str, list[str], int, int], reply)
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        generation_id = UUID(fields["mediaId"]) if found == "leased" else None
        return LeasedEntry(fields, lease, _moment(expires_ms), int(deliveries), generation_id)

    async def hold(self, generation_id: UUID, lease: str, key: str = "") -> LeaseState:
        """Extends the lease by its length."""
        return await self._held(generation_id, lease, key, [])

    async def restore(self, generation_id: UUID, lease: str, key: str, attempt: int, lease_s: float) -> LeaseState:
        """As `hold`, where Redis has lost its data: the worker goes on, and the lease is bound to its key."""
        return await self._held(generation_id, lease, key, [str(attempt), str(int(lease_s * 1000)), str(JOB_KEPT_S)])

    async def _held(self, generation_id: UUID, lease: str, key: str, more: list[str]) -> LeaseState:
        keys = [LEASES, lease_key(generation_id), job_key(generation_id)]
        reply = await self._hold(keys, [str(generation_id), lease, key, *more])
        return _state(cast(list[str], reply))

    async def keys_of(self, generation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """The key that the lease of each job is bound to; jobs without such a lease are left out."""
        ids = list(generation_ids)
        found = cast(list[str], await self._keys([lease_key(one) for one in ids], [])) if ids else []
        return {one: key for one, key in zip(ids, found, strict=True) if key}

    async def finish(
        self, generation_id: UUID, lease: str, event_type: str, more: Mapping[str, str] | None = None
    ) -> None:
        """The job has ended with this event, which is on the log. `more`: fields for the hash of the job."""
        keys = [LEASES, lease_key(generation_id), job_key(generation_id)]
        pairs = [text for pair in (more or {}).items() for text in pair]
        await self._finish(keys, [str(generation_id), lease, event_type, *pairs])

    async def release(self, generation_id: UUID, lease: str, key: str = "") -> bool:
        """Queues the job again, unless it is over; False when the lease is lost, or another key's."""
        return await self._requeued([str(generation_id), lease, key]) == 1

    async def requeue_expired(self) -> int:
        """Queues the jobs whose leases have ended; returns their number."""
        return await self._requeued([])

    async def _requeued(self, one: list[str]) -> int:
        reply = await self._requeue([QUEUE_STREAM, LEASES], [str(JOB_KEPT_S), str(INDEX_MAX), *one])
        return int(cast(int, reply))


def _state(reply: Sequence[str]) -> LeaseState:
    match reply:
        case ["held", expires_ms, attempt, worker]:
            return Held(_moment(expires_ms), int(attempt) if attempt else None, worker)
        case ["ended", event_type]:
            return LeaseEnded(event_type)
        case ["unknown"]:
            return JobUnknown()
        case ["foreign"]:
            return LeaseOfAnotherKey()
        case [found]:
            return LeaseLost(superseded=found == "superseded")
        case _:
            raise BugError(f"hold.lua returned {reply!r}")


def _moment(unix_ms: int | str) -> datetime:
    return datetime.fromtimestamp(int(unix_ms) / 1000, UTC)


def _script(name: str) -> str:
    return (files("gengui_stream.providers.local") / name).read_text()
