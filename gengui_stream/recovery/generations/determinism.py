"""The determinism watch: folds random generations again from the log, and compares the rows of the projections.

Rows and offsets are read as of one moment, so a difference is one whatever the agents commit meanwhile. A difference
that PostgreSQL no longer has at the second look is none: retention or a retry of a dead letter came in between.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

import structlog

from gengui_stream.errors import TransientError
from gengui_stream.log.lookup.records import LogLookup, opened_lookup
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.generations import drift
from gengui_stream.recovery.generations.comparison import compare
from gengui_stream.recovery.generations.random_sample import random_generation
from gengui_stream.recovery.generations.refold import refold
from gengui_stream.recovery.generations.stored_rows import read_rows
from gengui_stream.settings import Settings
from gengui_stream.stamps import utc_now

RECORDS_MAX: Final = 1_000
"""Records of a generation; more are left to `verify`. A usual one has some ten."""

KNOWN_DRIFT_SHARE: Final = 0.25
"""Of the checks look again at a generation that had drifted, so that one that was repaired is forgotten."""

Outcome: TypeAlias = Literal["equal", "drifted", "left_out", "failed"]

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """`detail`: what differs, or why the generation was left out."""

    outcome: Outcome
    detail: str = ""


class DeterminismWatch:
    """Checks one generation at a time."""

    def __init__(self, settings: Settings, pool: Pool, log: LogLookup, chance: random.Random) -> None:
        self._topic = settings.events_topic
        self._partitions = settings.events_partitions
        self._pool = pool
        self._log = log
        self._chance = chance

    async def check_next(self) -> Outcome | None:
        """Checks a random generation, or one that had drifted; None when there is none. Raises TransientError when a
        server is unavailable."""
        again = self._chance.random() < KNOWN_DRIFT_SHARE
        generation_id = await drift.take_next(self._pool, self._topic) if again else None
        if generation_id is None:
            generation_id = await random_generation(self._pool, self._chance, utc_now())
        return None if generation_id is None else (await self.check(generation_id)).outcome

    async def check(self, generation_id: UUID) -> Checked:
        """Keeps what it finds, for `doctor`. Raises TransientError when a server is unavailable."""
        checked = await self._compared(generation_id)
        if checked.outcome == "drifted":
            checked = await self._compared(generation_id)
        if checked.outcome == "equal":
            await drift.remove(self._pool, self._topic, generation_id)
        if checked.outcome == "drifted":
            await self._report(generation_id, checked.detail)
        return checked

    async def _report(self, generation_id: UUID, difference: str) -> None:
        if await drift.record(self._pool, self._topic, generation_id, difference):
            _log.error("projection_drifted", generation_id=str(generation_id), difference=difference)

    async def _compared(self, generation_id: UUID) -> Checked:
        stored = await read_rows(self._pool, self._topic, generation_id)
        if stored.pruned_before is not None:
            return Checked("left_out", "retention has removed events of its timeline")
        if len(stored.positions) > RECORDS_MAX:
            return Checked("left_out", f"it has {len(stored.positions)} records")
        found = await refold(self._log, generation_id, stored.positions, stored.letters, self._partitions)
        if found.gone:
            return Checked("left_out", f"the log has no record of it at {found.gone[0]}")
        report = compare(found, stored)
        return Checked("equal") if report.agrees else Checked("drifted", drift.described(report))


async def keep_checking(settings: Settings, pool: Pool, metrics: Metrics) -> None:
    """Checks a generation every DETERMINISM_CHECK_EVERY_S, which is not 0, without end."""
    chance = random.Random()
    while True:
        await asyncio.sleep(settings.determinism_check_every_s)
        try:
            async with opened_lookup(settings) as log:
                await _check_all(DeterminismWatch(settings, pool, log, chance), settings, metrics)
        except TransientError as error:
            _log.warning("determinism_not_checked", error=str(error))


async def _check_all(watch: DeterminismWatch, settings: Settings, metrics: Metrics) -> None:
    """What a check raises besides TransientError is counted: an observer does not end the projection that it
    observes."""
    while True:
        try:
            outcome = await watch.check_next()
        except TransientError:
            raise
        except Exception:  # noqa: BLE001 - of whatever kind
            _log.exception("determinism_check_failed")
            outcome = "failed"
        if outcome is not None:
            metrics.generations_checked.labels(outcome).inc()
        await asyncio.sleep(settings.determinism_check_every_s)
