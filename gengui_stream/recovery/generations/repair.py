"""Repairs one generation: writes the rows of its state, request and timeline again, as its events in the log say.

In one transaction against the checkpoint of its partition, whose owner commits nothing meanwhile, and then loads the
states that it holds again. Counts of a day or a provider are sums over many generations, which a rebuild repairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.log.lookup.records import LogLookup
from gengui_stream.log.positions import Position
from gengui_stream.postgres.bulk import Write, execute_writes
from gengui_stream.postgres.pool import Connection, Pool, transient_errors
from gengui_stream.projecting import checkpoints
from gengui_stream.projections import generation_requests, generation_states, timeline
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.recovery.generations import drift
from gengui_stream.recovery.generations.comparison import compare
from gengui_stream.recovery.generations.records import Records, records_of
from gengui_stream.recovery.generations.refold import Refold, read_at
from gengui_stream.recovery.generations.scan import Progress, unseen
from gengui_stream.recovery.generations.stored_rows import StoredRows, read_rows_on
from gengui_stream.recovery.verification.report import Report
from gengui_stream.settings import Settings

DELETE_STATE: Final = "DELETE FROM projections.generation_states WHERE generation_id = $1"
DELETE_REQUEST: Final = "DELETE FROM projections.generation_requests WHERE generation_id = $1"
DELETE_TIMELINE: Final = "DELETE FROM projections.timeline WHERE generation_id = $1"
MARK_PRUNED: Final = "UPDATE projections.generation_states SET timeline_pruned_before = $2 WHERE generation_id = $1"


@dataclass(frozen=True, slots=True)
class Repaired:
    """`records`: of the generation in the log. `found`: those of them that only a scan found. `differences`: between
    its rows and its events, by then."""

    generation_id: UUID
    records: int
    found: Sequence[Position]
    differences: Report


async def repair(
    settings: Settings,
    pool: Pool,
    log: LogLookup,
    generation_id: UUID,
    order: Order,
    *,
    dry_run: bool = False,
    scanned: bool = False,
    progress: Progress = unseen,
) -> Repaired:
    """Changes nothing when nothing differs, or with `dry_run`. `scanned`: reads the partition for events that the
    timeline lacks. Raises PermanentError, and changes nothing, when the events are not known for sure; TransientError
    when a server is unavailable."""
    known = await records_of(settings, pool, log, generation_id, scanned=scanned, progress=progress)
    refolded = known.refolded(settings.events_partitions)
    _check(refolded, known.stored, scanned=scanned)
    differences = compare(refolded, known.stored)
    if not (differences.agrees or dry_run):
        with transient_errors():
            async with pool.acquire() as connection, connection.transaction():
                await _hold(connection, settings.events_topic, known.stored, refolded.home)
                now = await _known_now(connection, settings, log, known)
                differences = await _rewrite(connection, settings, now, order, scanned=scanned)
    elif not dry_run:
        await drift.remove(pool, settings.events_topic, generation_id)
    return Repaired(generation_id, len(refolded.steps), known.found, differences)


async def _hold(connection: Connection, topic: str, stored: StoredRows, home: int) -> None:
    """Until the transaction ends, the owners of the partitions commit nothing."""
    partitions = {home, *(position.partition for position in stored.positions)}
    for partition in sorted(partitions & stored.next_offsets.keys()):
        await checkpoints.revise_parked(connection, topic, partition)


async def _known_now(connection: Connection, settings: Settings, log: LogLookup, known: Records) -> Records:
    """With the records that were projected since."""
    stored = await read_rows_on(connection, settings.events_topic, known.stored.generation_id)
    new = [position for position in stored.positions if position not in known.records]
    return Records(stored, known.records | await read_at(log, new), known.found)


async def _rewrite(
    connection: Connection, settings: Settings, known: Records, order: Order, *, scanned: bool
) -> Report:
    refolded = known.refolded(settings.events_partitions)
    _check(refolded, known.stored, scanned=scanned)
    differences = compare(refolded, known.stored)
    await _delete(connection, refolded.generation_id)
    await execute_writes(connection, _writes(refolded, known.stored))
    await connection.execute(MARK_PRUNED, refolded.generation_id, known.stored.pruned_before)
    await drift.remove(connection, settings.events_topic, refolded.generation_id)
    result = {"differences": dict(differences.counts), "samples": [each.what for each in differences.samples]}
    await write_act(connection, order, "repair", str(refolded.generation_id), result)
    return differences


async def _delete(connection: Connection, generation_id: UUID) -> None:
    for statement in (DELETE_STATE, DELETE_REQUEST, DELETE_TIMELINE):
        await connection.execute(statement, generation_id)


def _writes(refolded: Refold, stored: StoredRows) -> list[Write]:
    last = refolded.last_change
    state = last.after if last else None
    rows = [generation_states.row_of(state, refolded.home, last.position.offset)] if last and state else []
    requests = generation_requests.rows_of([step.outcome for step in refolded.steps])
    return [
        generation_requests.write(requests),
        generation_states.write(rows),
        timeline.write(_timeline(refolded, stored)),
    ]


def _timeline(refolded: Refold, stored: StoredRows) -> list[TimelineRow]:
    """Without the rows that retention has removed."""
    rows = [row for step in refolded.steps for row in timeline.rows_of([step.outcome], step.position.partition)]
    kept, pruned = {Position(row["partition"], row["log_offset"]) for row in stored.timeline}, stored.pruned_before
    return [row for row in rows if pruned is None or row.appended_at >= pruned or row.position in kept]


def _check(refolded: Refold, stored: StoredRows, *, scanned: bool) -> None:
    if refolded.gone:
        raise PermanentError(
            f"the log has no record at {refolded.gone[0]}, which the projections have folded: what is left would be "
            "another state"
        )
    state = stored.state
    if state is None:
        return
    if scanned and refolded.state is None:
        raise PermanentError(
            f"the scan found no request of {refolded.generation_id}, which has a state: `rebuild` reads the whole log"
        )
    if scanned:
        return
    known = {position.offset for position in stored.positions if position.partition == refolded.home}
    if refolded.state is None or state["log_offset"] not in known or state["version"] > refolded.state.version:
        raise PermanentError(
            f"the timeline of {refolded.generation_id} seems to lack events: its state is of version "
            f"{state['version']} at {refolded.home}:{state['log_offset']}; --scan searches the log for them"
        )
