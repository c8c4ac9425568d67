"""Measures how long an event takes from the moment that it is due until PostgreSQL has it, on every partition."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg

from api.server import APPEND_WITHIN_S
from gengui_stream.errors import TransientError
from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import encode_key
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.partitions import partition_of
from gengui_stream.process.background import background_task
from gengui_stream.settings import Settings
from schemas.events import Event, GenerationCanceled, GenerationHeartbeatReceived, GenerationRequested
from tests.bench.report.quantiles import quantile

EVERY_S: Final = 0.2
LOOK_EVERY_S: Final = 0.02
AGAIN_S: Final = 0.1
SLACK_S: Final = 1.0
"""An event that was due so long before a fault belongs to it, if it became visible after it."""

OWNER: Final = "SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'"
NEXT: Final = "SELECT partition, next_offset FROM projections.checkpoints WHERE topic = $1"


@dataclass(slots=True)
class Sample:
    """One event. The times are those of `time.monotonic`; 0: not yet."""

    partition: int
    due: float
    offset: int = -1
    confirmed: float = 0.0
    visible: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """The longest times of some samples, in seconds since they were due: until the log confirmed them, and until they
    were in PostgreSQL. `partitions`: where it took longer than a second."""

    confirmed_s: float
    visible_s: float
    partitions: int
    p50_ms: float
    p99_ms: float


class Probe:
    """Appends with the producer and the time-out of the API, each event until it is confirmed, and the next one of that
    partition only then: the first event of a gap has waited for all of it."""

    def __init__(self, log: EventLog, subjects: Mapping[int, UUID], connection: asyncpg.Connection, topic: str) -> None:
        self._log, self._subjects, self._topic = log, subjects, topic
        self._connection = connection
        self._pending: dict[int, deque[Sample]] = defaultdict(deque)
        self.samples: list[Sample] = []
        self.refusals = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for partition in self._subjects:
                group.create_task(self._append(partition))

    async def _append(self, partition: int) -> None:
        due = time.monotonic()
        while True:
            due = max(due + EVERY_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            sample, event = Sample(partition, due), _heartbeat(self._subjects[partition])
            self.samples.append(sample)
            while sample.offset < 0:
                try:
                    sample.offset = (await self._log.append(event)).offset
                except TransientError:
                    self.refusals += 1
                    await asyncio.sleep(AGAIN_S)
            sample.confirmed = time.monotonic()
            self._pending[partition].append(sample)

    async def _watch(self) -> None:
        while True:
            for row in await self._connection.fetch(NEXT, self._topic):
                pending, now = self._pending[row["partition"]], time.monotonic()
                while pending and pending[0].offset < row["next_offset"]:
                    pending.popleft().visible = now
            await asyncio.sleep(LOOK_EVERY_S)

    def caught_up(self, since: float) -> bool:
        """Whether each partition has an event that was due after this moment and is visible."""
        late = {sample.partition for sample in self.samples if sample.due > since and sample.visible}
        return late == self._subjects.keys() and not any(
            sample.due <= since and not sample.visible for sample in self.samples[-2_000:]
        )


def gap_of(samples: Sequence[Sample], since: float) -> Gap:
    """Of the events that became visible after this moment."""
    found = [sample for sample in samples if sample.visible > since and sample.due > since - SLACK_S]
    visible = [sample.visible - sample.due for sample in found]
    slow = {sample.partition for sample in found if sample.visible - sample.due > 1}
    return Gap(
        round(max(sample.confirmed - sample.due for sample in found), 2),
        round(max(visible), 2),
        len(slow),
        round(quantile(visible, 0.5) * 1000, 1),
        round(quantile(visible, 0.99) * 1000, 1),
    )


@asynccontextmanager
async def opened_probe(settings: Settings) -> AsyncIterator[Probe]:
    """Runs while the block runs. Its generations, one a partition, have ended before: their events are recorded, and
    change nothing."""
    connection = await asyncpg.connect(settings.database_dsn)
    try:
        owner_id: UUID = await connection.fetchval(OWNER)
        async with EventLog(settings, append_s=APPEND_WITHIN_S) as log:
            subjects = _subjects(settings.events_partitions)
            await log.append_many([event for each in subjects.values() for event in _history(each, owner_id)])
            probe = Probe(log, subjects, connection, settings.events_topic)
            async with background_task(lambda _: probe.run()):
                yield probe
    finally:
        await connection.close()


def _subjects(partitions: int) -> Mapping[int, UUID]:
    found: dict[int, UUID] = {}
    while len(found) < partitions:
        candidate = new_id()
        found.setdefault(partition_of(encode_key(_heartbeat(candidate)), partitions), candidate)
    return found


def _history(generation_id: UUID, owner_id: UUID) -> Sequence[Event]:
    requested = {"prompt": "a lighthouse", "seed": 1, "width": 256, "height": 256, "model": "flux", "provider": "local"}
    envelope = _envelope(generation_id)
    return [
        GenerationRequested.model_validate({**envelope, **requested, "owner_id": owner_id}),
        GenerationCanceled.model_validate(_envelope(generation_id)),
    ]


def _heartbeat(generation_id: UUID) -> Event:
    return GenerationHeartbeatReceived.model_validate({**_envelope(generation_id), "attempt": 1})


def _envelope(generation_id: UUID) -> dict[str, object]:
    return {"id": new_id(), "generation_id": generation_id, "occurred_at": datetime.now(UTC), "producer": "probe"}
