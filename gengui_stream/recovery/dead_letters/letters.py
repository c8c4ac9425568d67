"""Finds dead letters and resolves them: folds one again (`retry`) or skips it for good (`discard`).

Both then fold the events parked behind it in the order of the log, in the same transaction, and raise the partition's
parked revision: a running projector then loads the parked generations again, and folds its batch again. An event that
still cannot be folded stays, with everything parked behind it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.errors import PermanentError
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.postgres.rejections import rejects_value
from gengui_stream.projecting import checkpoints
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projecting.writes import write_read_models
from gengui_stream.projections import generation_states, job_rows, timeline
from gengui_stream.projections.dead_letters import (
    FIND,
    NOT_FOLDED,
    OPEN_OF_GENERATION,
    RESOLVE,
    SET_REASON,
)
from gengui_stream.projections.outcomes import PARKED, DeadLettered, Outcome, Tally
from gengui_stream.recovery.audit import Order, write_act


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A stored dead letter. It has the fields of a record of the log, and so can be folded like one."""

    topic: str
    partition: int
    offset: int
    generation_id: UUID | None
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    appended_at: datetime
    created_at: datetime
    resolution: str | None
    resolved_at: datetime | None

    @property
    def position(self) -> Position:
        return Position(self.partition, self.offset)

    @property
    def timestamp(self) -> int:
        return round(self.appended_at.timestamp() * 1000)


@dataclass(slots=True)
class Resolution:
    """The result of a retry or a discard. `stays`: the dead letter that now blocks the rest, if any; `because`: why."""

    tally: Tally = field(default_factory=Tally)
    folded: list[Position] = field(default_factory=list)
    stays: Position | None = None
    because: str | None = None

    def document(self) -> dict[str, object]:
        counts = {"applied": self.tally.applied, "ignored": self.tally.ignored}
        stays = None if self.stays is None else str(self.stays)
        return counts | {"folded": [str(at) for at in self.folded], "stays": stays, "because": self.because}


@asynccontextmanager
async def tentative(connection: Connection, *, dry_run: bool) -> AsyncIterator[None]:
    """A transaction, which `dry_run` rolls back at its end."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())


async def not_folded(pool: Pool, topic: str, generation_id: UUID) -> list[DeadLetter]:
    """The dead letters of a generation, open or discarded, in the order of the log."""
    with transient_errors():
        return [DeadLetter(*row) for row in await pool.fetch(NOT_FOLDED, topic, generation_id)]


async def find(pool: "Pool | Connection", topic: str, position: Position) -> DeadLetter:
    """Raises PermanentError when there is no such dead letter."""
    with transient_errors():
        row = await pool.fetchrow(FIND, topic, position.partition, position.offset)
    if row is None:
        raise PermanentError(
            f"there is no dead letter at {position}: `gengui-stream dead-letters list --all` shows all"
        )
    return DeadLetter(*row)


async def retry(
    pool: Pool, topic: str, position: Position, timings: JobTimings, order: Order, *, dry_run: bool = False
) -> Resolution:
    """Folds the dead letter and the events parked behind it, and keeps the order in the audit; with `dry_run` it rolls
    everything back. Raises PermanentError, and changes nothing, when it is not open, is itself parked, or still cannot
    be folded."""
    with transient_errors():
        async with pool.acquire() as connection, tentative(connection, dry_run=dry_run):
            done = await retry_on(connection, topic, position, timings)
            await write_act(connection, order, "dead-letters retry", str(position), done.document())
            return done


async def retry_on(connection: Connection, topic: str, position: Position, timings: JobTimings) -> Resolution:
    """`retry` as a transaction of this connection, nested when it is in one."""
    async with connection.transaction():
        letters = await _opened(connection, topic, position)
        resolution = await _fold(connection, letters, timings)
        if not resolution.folded:
            raise PermanentError(f"{position} still cannot be folded: {resolution.because}")
        await _settle(connection, letters[0], resolution)
        return resolution


async def discard(
    pool: Pool, topic: str, position: Position, timings: JobTimings, order: Order, *, dry_run: bool = False
) -> Resolution:
    """Skips the dead letter for good and folds the events parked behind it, and keeps the order in the audit; with
    `dry_run` it rolls everything back. Raises PermanentError, and changes nothing, when it is not open or is itself
    parked."""
    with transient_errors():
        async with pool.acquire() as connection, tentative(connection, dry_run=dry_run):
            done = await discard_on(connection, topic, position, timings)
            await write_act(connection, order, "dead-letters discard", str(position), done.document())
            return done


async def discard_on(connection: Connection, topic: str, position: Position, timings: JobTimings) -> Resolution:
    """`discard` as a transaction of this connection, nested when it is in one."""
    async with connection.transaction():
        first, *letters = await _opened(connection, topic, position)
        await connection.execute(RESOLVE, topic, position.partition, [position.offset], "discarded")
        resolution = await _fold(connection, letters, timings)
        await _settle(connection, first, resolution)
        return resolution


async def _opened(connection: Connection, topic: str, position: Position) -> list[DeadLetter]:
    """The dead letter and those parked behind it. Raises the parked revision first, so that none is added meanwhile."""
    await checkpoints.revise_parked(connection, topic, position.partition)
    letter = await find(connection, topic, position)
    if letter.resolution is not None:
        raise PermanentError(f"{position} was {letter.resolution} already")
    if letter.generation_id is None:
        return [letter]
    rows = await connection.fetch(OPEN_OF_GENERATION, topic, position.partition, letter.generation_id)
    letters = [DeadLetter(*row) for row in rows]
    if letters[0].offset != position.offset:
        raise PermanentError(f"{position} waits behind {letters[0].position}: retry or discard that one")
    return letters


async def _fold(connection: Connection, letters: Sequence[DeadLetter], timings: JobTimings) -> Resolution:
    """Folds one at a time, up to the first that cannot be folded or written."""
    resolution = Resolution()
    named = {letter.generation_id for letter in letters if letter.generation_id is not None}
    known = await _known(connection, letters[0].partition, named) if letters else FoldState()
    for letter in letters:
        [outcome] = fold_records(decode_records([letter]), known)
        known.parked.clear()
        refusal = await _refusal(connection, letter, outcome, timings)
        if refusal is not None:
            resolution.stays, resolution.because = letter.position, refusal
            break
        resolution.folded.append(letter.position)
        resolution.tally.count([outcome])
    return resolution


async def _known(connection: Connection, partition: int, named: set[UUID]) -> FoldState:
    states = await generation_states.load(connection, named, partition=partition)
    earlier = await timeline.unrequested_events(connection, {partition: named.difference(states)})
    return FoldState(states, unrequested=earlier[partition])


async def _refusal(connection: Connection, letter: DeadLetter, outcome: Outcome, timings: JobTimings) -> str | None:
    """Writes the read models of the outcome; or returns why that is impossible, and has written nothing."""
    if isinstance(outcome, DeadLettered):
        return f"{outcome.reason}: {outcome.detail}"
    try:
        async with connection.transaction():
            jobs = job_rows.changes_of([outcome], timings)
            await write_read_models(connection, letter.topic, letter.partition, [outcome], jobs)
    except Exception as error:
        if not rejects_value(error):
            raise
        detail = f"{type(error).__name__}: {error}"[:500]
        if letter.reason == PARKED:  # the earlier dead letters are resolved: this one now blocks the generation
            position = (letter.topic, letter.partition, letter.offset)
            await connection.execute(SET_REASON, *position, "refused_by_database", detail.replace("\x00", "\\x00"))
        return f"refused_by_database: {detail}"
    return None


async def _settle(connection: Connection, first: DeadLetter, resolution: Resolution) -> None:
    tally, offsets = resolution.tally, [position.offset for position in resolution.folded]
    await connection.execute(RESOLVE, first.topic, first.partition, offsets, "retried")
    await checkpoints.recount(connection, first.topic, first.partition, tally, len(offsets))
