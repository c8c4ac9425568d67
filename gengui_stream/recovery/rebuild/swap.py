"""Puts the tables of the shadow in the place of the live ones, in one short transaction.

The transaction locks the live checkpoints first, so no batch is committed; folds the few events that the shadow still
lacks; and then moves the tables between the schemas. Readers and agents wait meanwhile, some milliseconds, and then
find the new tables under the old names: PostgreSQL plans prepared statements again. The owners of the partitions notice
by the parked revision, as after a retry of a dead letter, and load the states that they cache again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.recovery.rebuild.fold.follower import Follower
from gengui_stream.recovery.rebuild.shadow import decisions, run_state
from gengui_stream.recovery.rebuild.shadow.connection import LIVE, RETIRED, SHADOW
from gengui_stream.recovery.rebuild.shadow.run_state import Phase
from gengui_stream.recovery.rebuild.shadow.tables import CHECKPOINTS, differing, is_all

LOCK_TIMEOUT_MS: Final = 300
"""Behind a waiting lock every reader of the table waits as well."""

VACUUM_TIMEOUT_MS: Final = 10_000
"""PostgreSQL ends an automatic VACUUM once a lock has waited for it for the `deadlock_timeout`, one second; one that an
operator ordered, or that prevents a wraparound, goes on. Neither readers nor agents wait meanwhile."""

TRIES: Final = 200
PAUSE_S: Final = 0.2
EVENTS_LOCKED_MAX: Final = 2_000
"""Folded while the agents wait: a fraction of a second."""

FOLDED_WITHIN_S: Final = 5.0

# As after a change of what is parked: an owner of a release that does not know the revision is fenced.
TAKE_CHECKPOINTS: Final = """
INSERT INTO projections.checkpoints AS c (projection, topic, partition, start_offset, next_offset, owner_epoch, applied,
    ignored, dead_lettered, revision_epoch)
SELECT projection, topic, partition, start_offset, next_offset, 1, applied, ignored, dead_lettered, 1
FROM projections_next.checkpoints WHERE projection = $1 AND topic = $2
ON CONFLICT (projection, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset,
    applied = EXCLUDED.applied, ignored = EXCLUDED.ignored, dead_lettered = EXCLUDED.dead_lettered
"""

KEEP_CHECKPOINT: Final = """
UPDATE projections_next.checkpoints SET next_offset = $4, applied = $5, ignored = $6, dead_lettered = $7
WHERE projection = $1 AND topic = $2 AND partition = $3
"""

RESET_CHECKPOINTS: Final = """
UPDATE projections_next.checkpoints SET next_offset = 0, applied = 0, ignored = 0, dead_lettered = 0
WHERE projection = $1 AND topic = $2
"""

TABLES_OF: Final = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'"

MOVED: Final = """
SELECT string_agg(oid::regclass::text, ', ' ORDER BY oid) FROM pg_class WHERE relkind = 'r' AND
    (relnamespace IN (to_regnamespace($1), to_regnamespace($2)) OR oid = ANY($3::text[]::regclass[]))
"""


@dataclass(frozen=True, slots=True)
class Swapped:
    """`locked_ms`: how long commits of the agents waited. `tries`: of the transaction; more than one when a table was
    in use for longer than LOCK_TIMEOUT_MS, or vacuumed for longer than VACUUM_TIMEOUT_MS."""

    locked_ms: float
    tries: int


@dataclass(frozen=True, slots=True)
class Swap:
    """`tables`: those to be swapped. `revisions`: the live parked revisions that the shadow is built with. `decided`:
    the offsets before which decisions on dead letters are carried over already."""

    topic: str
    tables: Sequence[str]
    revisions: Mapping[int, int]
    decided: Mapping[int, int]
    order: Order
    action: str

    @property
    def whole(self) -> bool:
        return is_all(self.tables)


class _FarBehindError(Exception):
    """The shadow lacks more events than are folded under a lock."""


async def swap(
    control: Connection,
    plan: Swap,
    follower: Follower,
    last: Callable[[], Awaitable[Mapping[int, int]]],
) -> Swapped:
    """`last`: the offsets up to which the shadow is to be ahead of, or level with, the live projections.

    Raises TransientError, and has changed nothing, when the tables stay in use; PermanentError when dead letters were
    decided, or a migration has changed the tables meanwhile."""
    for number in range(1, TRIES + 1):
        try:
            with transient_errors():
                await _end_vacuums(control, plan)
                await follower.follow(await last())
                return Swapped(await _try(control, plan, follower), number)
        except _FarBehindError:
            continue
        except TransientError as error:
            if not isinstance(error.__cause__, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError):
                raise
            await asyncio.sleep(PAUSE_S)
    raise TransientError("the tables were in use at every try: nothing is swapped; run `rebuild` again to go on")


async def _try(control: Connection, plan: Swap, follower: Follower) -> float:
    """Returns the milliseconds for which the checkpoints were locked."""
    async with control.transaction():
        await control.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
        began = time.monotonic()
        await control.execute(f"LOCK TABLE {LIVE}.checkpoints IN EXCLUSIVE MODE")
        rows = await control.fetch(checkpoints.SELECT_ALL, checkpoints.PROJECTION, plan.topic)
        live = {row["partition"]: row["next_offset"] for row in rows}
        await _fold_rest(follower, live)
        if not plan.whole and any(offset > live.get(at, 0) for at, offset in follower.offsets.items()):
            raise PermanentError("the live checkpoints have gone back meanwhile: nothing is swapped")
        if "dead_letters" in plan.tables:
            await decisions.carry_over(control, plan.topic, plan.decided)
        await control.execute(f"LOCK TABLE {', '.join(_live(plan))} IN ACCESS EXCLUSIVE MODE")
        await _check(control, plan, rows)
        await _move(control, plan, rows)
        offsets = {str(partition): offset for partition, offset in follower.offsets.items()}
        await write_act(control, plan.order, plan.action, ", ".join(plan.tables), {"next_offsets": offsets})
    return round((time.monotonic() - began) * 1000, 1)


async def _end_vacuums(control: Connection, plan: Swap) -> None:
    """Of every table that is moved or dropped. The server begins no others for a while, its `autovacuum_naptime`. The
    locks are not kept: a migration that reads a table and then alters it would be in a deadlock with the swap."""
    async with control.transaction():
        await control.execute(f"SET LOCAL lock_timeout = '{VACUUM_TIMEOUT_MS}ms'")
        names = await control.fetchval(MOVED, SHADOW, RETIRED, _live(plan))
        await control.execute(f"LOCK TABLE {names} IN SHARE UPDATE EXCLUSIVE MODE")


def _live(plan: Swap) -> list[str]:
    return [f"{LIVE}.{table}" for table in (*plan.tables, CHECKPOINTS)]


async def _check(control: Connection, plan: Swap, rows: Sequence[asyncpg.Record]) -> None:
    if any(plan.revisions.get(row["partition"], row["parked_revision"]) != row["parked_revision"] for row in rows):
        raise PermanentError(
            "dead letters, skipped offsets or repaired generations have changed meanwhile: nothing is swapped, and the "
            "next `rebuild` begins again"
        )
    if changed := await differing(control, plan.tables):
        raise PermanentError(f"a migration has changed {', '.join(changed)} meanwhile: the next `rebuild` begins again")


async def _fold_rest(follower: Follower, live: Mapping[int, int]) -> None:
    if follower.behind(live) > EVENTS_LOCKED_MAX:
        raise _FarBehindError
    try:
        async with asyncio.timeout(FOLDED_WITHIN_S):
            await follower.follow(live)
    except TimeoutError as error:
        raise TransientError(f"the last events were not folded within {FOLDED_WITHIN_S:.0f} s") from error


async def _move(control: Connection, plan: Swap, before: Sequence[asyncpg.Record]) -> None:
    await run_state.drop(control, RETIRED)
    await control.execute(f"CREATE SCHEMA {RETIRED}")
    for table in plan.tables:
        await control.execute(f"ALTER TABLE {LIVE}.{table} SET SCHEMA {RETIRED}")
        await control.execute(f"ALTER TABLE {SHADOW}.{table} SET SCHEMA {LIVE}")
    if plan.whole:
        await control.execute(TAKE_CHECKPOINTS, checkpoints.PROJECTION, plan.topic)
    await control.execute(RESET_CHECKPOINTS, checkpoints.PROJECTION, plan.topic)
    for row in before:
        kept = (row[name] for name in ("partition", "next_offset", "applied", "ignored", "dead_lettered"))
        await control.execute(KEEP_CHECKPOINT, checkpoints.PROJECTION, plan.topic, *kept)
        await checkpoints.revise_parked(control, plan.topic, row["partition"])
    await run_state.set_revisions(control, {row["partition"]: row["parked_revision"] + 1 for row in before})
    await _retire_rest(control)


async def _retire_rest(control: Connection) -> None:
    """What is left of the shadow, from which a rollback goes on: the checkpoints and what the fold reads."""
    await run_state.set_phase(control, Phase.RETIRED)
    for row in await control.fetch(TABLES_OF, SHADOW):
        await control.execute(f"ALTER TABLE {SHADOW}.{row['relname']} SET SCHEMA {RETIRED}")
    await control.execute(f"DROP SCHEMA {SHADOW}")
