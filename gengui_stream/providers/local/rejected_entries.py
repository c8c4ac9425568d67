"""Entries of the queue that no worker over HTTP gets: they fail their generation, or are kept as dead letters."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from gengui_stream.log.event_log import Appender
from gengui_stream.providers.local.entries import InvalidMessage
from gengui_stream.providers.local.leases import JobLeases, LeasedEntry
from gengui_stream.providers.local.redis_keys import DEAD_MAX, DEAD_STREAM
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.stamps import repeatable_stamp
from schemas.events import Failure, GenerationFailed

_NAMESPACE: Final = UUID("b7c3cf2e-53a4-5a64-9a5e-8a1f0a1c9d41")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rejections:
    """Where rejected entries go."""

    log: Appender
    leases: JobLeases
    streams: ProducerStreams


async def reject(rejections: Rejections, entry: LeasedEntry, invalid: InvalidMessage, code: str) -> None:
    """Ends the entry. Raises TransientError while a server is unavailable."""
    _log.warning("job_rejected", code=code, fault=invalid.message, generation_id=str(invalid.generation_id))
    if entry.generation_id is None:
        why = {"dead.reason": invalid.message}
        await rejections.streams.add(DEAD_STREAM, {**entry.fields, **why}, max_length=DEAD_MAX)
        return
    await rejections.log.append(_failed(entry, entry.generation_id, invalid, code))
    await rejections.leases.finish(entry.generation_id, entry.lease, "generation.failed", {"status": "failed"})


def _failed(entry: LeasedEntry, generation_id: UUID, invalid: InvalidMessage, code: str) -> GenerationFailed:
    stamp = repeatable_stamp(_NAMESPACE, f"{entry.lease}/{code}", "api")
    failure = Failure(code=code, message=invalid.message, retryable=False)
    return GenerationFailed(**stamp.envelope(generation_id), attempt=invalid.attempt, error=failure)
