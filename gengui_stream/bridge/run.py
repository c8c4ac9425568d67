"""The role `bridge`: appends the workers' status messages to the log, and acknowledges them once appended."""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from gengui_stream.bridge.completions import ANSWER_S, CompletionChecks, ProjectedOwners
from gengui_stream.bridge.messages import (
    DEAD_STREAM,
    OBJECT_MISSING,
    STATUS_GROUP,
    STATUS_STREAM,
    InvalidMessage,
    StatusEvent,
    Translated,
    dead_letter,
    split,
    translate,
)
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import Appender, EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import Metrics
from gengui_stream.process.background import background_task
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.redis_io.streams import BEGINNING, ConsumerStreams, ProducerStreams, StreamEntry
from gengui_stream.role_context import RoleContext
from schemas.events import GenerationCompleted, GenerationFailed

BATCH: Final = 500
WAIT_S: Final = 1.0
"""The timeout of a blocking read, and so the longest delay until the bridge notices a shutdown."""

CLAIM_EVERY_S: Final = 5.0
TRIM_EVERY_S: Final = 60.0
DEAD_MAX: Final = 10_000
"""Dead letters kept on Redis, about: the doctor warns at the first."""

_log = structlog.get_logger(__name__)


async def run_bridge(role: RoleContext) -> None:
    """Runs until the shutdown; waits for Redis and the broker while they are unavailable."""
    settings, stop = role.settings, role.stop
    consumer_name = f"bridge-{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"
    log = EventLog(settings, role.metrics)
    owners = ProjectedOwners(settings)
    try:
        await retry_transient(log.start, stop, operation="broker")
        async with (
            opened_redis(settings) as redis,
            open_object_store(settings, read_timeout_s=ANSWER_S, tries=1) as store,
            ConsumerStreams(settings, STATUS_STREAM, STATUS_GROUP, consumer_name, longest_wait_s=WAIT_S) as consumer,
        ):
            bridge = Bridge(
                consumer,
                ProducerStreams(redis),
                log,
                CompletionChecks(store, owners),
                role.metrics,
                claim_idle_s=settings.job_lease_s,
                kept_s=settings.status_stream_retention_s,
            )
            await retry_transient(consumer.create_group, stop, operation="status stream")
            role.health.started()
            async with background_task(lambda _: RedisHealth(redis).keep_checking(stop)):
                await _carry(bridge, consumer, stop)
    except ShutdownRequested:
        _log.info("bridge_stopped")
    finally:
        owners.close()
        await log.stop()


async def _carry(bridge: "Bridge", consumer: ConsumerStreams, stop: asyncio.Event) -> None:
    _log.info("bridge_started", stream=STATUS_STREAM, group=STATUS_GROUP)
    while not stop.is_set():
        entries = await retry_transient(bridge.next_entries, stop, operation="status stream")
        if entries:
            await retry_transient(partial(bridge.deliver, entries), stop, operation="status delivery")
    try:
        await consumer.leave()
    except TransientError as error:
        _log.warning("consumer_not_removed", error=str(error))


class Bridge:
    """Turns entries into events. Each method may be called again after a TransientError."""

    def __init__(
        self,
        consumer: ConsumerStreams,
        producer: ProducerStreams,
        log: Appender,
        checks: CompletionChecks,
        metrics: Metrics,
        *,
        claim_idle_s: float,
        kept_s: float,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._log = log
        self._checks = checks
        self._metrics = metrics
        self._claim_idle_ms = int(claim_idle_s * 1000)
        self._kept_ms = int(kept_s * 1000)
        self._trim_at = 0.0
        self._claim_at = 0.0
        self._claim_start = BEGINNING
        self._delivered: set[str] = set()
        """Of the batch in delivery, which may fail halfway."""

    async def next_entries(self) -> Sequence[StreamEntry]:
        """Entries that a dead process left pending, at intervals; else new ones; empty when there are none. At
        intervals it also removes old entries that are done."""
        self._delivered.clear()
        if time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + TRIM_EVERY_S
            self._metrics.pruned.labels("status_stream").inc(await self._consumer.trim(self._kept_ms))
            self._metrics.dead_statuses.set(await self._producer.length(DEAD_STREAM))
        if time.monotonic() >= self._claim_at:
            abandoned = await self._abandoned()
            if abandoned:
                return abandoned
        return await self._consumer.consume(BATCH)

    async def _abandoned(self) -> Sequence[StreamEntry]:
        claimed = await self._consumer.claim_abandoned(BATCH, idle_ms=self._claim_idle_ms, start=self._claim_start)
        self._claim_start = claimed.next_start
        if claimed.next_start == BEGINNING:
            self._claim_at = time.monotonic() + CLAIM_EVERY_S
        if claimed.entries:
            _log.info("statuses_claimed", count=len(claimed.entries))
        return [*claimed.entries, *(StreamEntry(entry_id, {}) for entry_id in claimed.lost)]

    async def deliver(self, entries: Sequence[StreamEntry]) -> None:
        """Appends the valid entries, dead-letters the others, then acknowledges them. Completions come last, and those
        that cannot be checked now stay pending: they are claimed as those of a dead process are."""
        now = datetime.now(UTC)
        translated = [(entry, translate(entry, now)) for entry in entries if entry.id not in self._delivered]
        prompt, completions = split(translated)
        await self._settle(prompt)
        await self._settle(await self._checked(completions))

    async def _checked(self, waiting: Sequence[tuple[StreamEntry, StatusEvent]]) -> Sequence[Translated]:
        """Without the completions that must wait, and what follows them about the same generation in this batch. What
        comes in a later batch overtakes them: the fold takes the first end of an attempt, whichever is appended first.
        """
        outcomes = await self._checks.check([found for _, found in waiting if isinstance(found, GenerationCompleted)])
        postponed: set[UUID] = set()
        checked: list[Translated] = []
        for entry, found in waiting:
            outcome = outcomes.get(found.id) if isinstance(found, GenerationCompleted) else found
            if outcome is None or found.generation_id in postponed:
                postponed.add(found.generation_id)
            else:
                checked.append((entry, outcome))
        self._metrics.statuses_bridged.labels("postponed").inc(len(waiting) - len(checked))
        return checked

    async def _settle(self, translated: Sequence[Translated]) -> None:
        if not translated:
            return
        events = [found for _, found in translated if not isinstance(found, InvalidMessage)]
        if events:
            await self._log.append_many(events)
        await self._dead_letter([(entry, found) for entry, found in translated if isinstance(found, InvalidMessage)])
        done = [entry.id for entry, _ in translated]
        await self._consumer.ack(done)
        self._delivered.update(done)
        self._count(events, dead=len(translated) - len(events))

    def _count(self, events: Sequence[StatusEvent], *, dead: int) -> None:
        refused = sum(isinstance(event, GenerationFailed) and event.error.code == OBJECT_MISSING for event in events)
        outcomes = self._metrics.statuses_bridged
        outcomes.labels("appended").inc(len(events) - refused)
        outcomes.labels(OBJECT_MISSING).inc(refused)
        outcomes.labels("dead_lettered").inc(dead)
        _log.debug("statuses_bridged", appended=len(events), object_missing=refused, dead=dead)

    async def _dead_letter(self, dead: Sequence[tuple[StreamEntry, InvalidMessage]]) -> None:
        if not dead:
            return
        await self._producer.add_many(
            DEAD_STREAM, [dead_letter(entry, invalid) for entry, invalid in dead], max_length=DEAD_MAX
        )
        self._metrics.dead_statuses.set(await self._producer.length(DEAD_STREAM))
        for entry, invalid in dead:
            _log.warning("status_dead_lettered", entry_id=entry.id, reason=invalid.reason, detail=invalid.detail)
