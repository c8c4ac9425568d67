"""All records of one generation, ignored and dead-lettered ones included."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import timeline
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.projections.timeline_retention import pruned_before
from gengui_stream.recovery.dead_letters.letters import DeadLetter, not_folded

Recorded: TypeAlias = TimelineRow | DeadLetter


@dataclass(frozen=True, slots=True)
class History:
    """`records`: in the order of the log. `pruned_before`: events appended before this moment were removed from the
    timeline; None: it is complete."""

    records: list[Recorded]
    pruned_before: datetime | None


async def history_of(pool: Pool, topic: str, generation_id: UUID) -> History:
    """Raises PermanentError when there is no record of the generation, and never was one."""
    records = await _records_of(pool, topic, generation_id)
    pruned = (await pruned_before(pool, [generation_id])).get(generation_id)
    if not records and pruned is None:
        raise PermanentError(f"nothing is recorded of generation {generation_id}")
    return History(records, pruned)


async def _records_of(pool: Pool, topic: str, generation_id: UUID) -> list[Recorded]:
    dead = await not_folded(pool, topic, generation_id)
    # Read second: a dead letter that is retried in between counts as folded.
    rows = await timeline.of_generation(pool, generation_id)
    every: list[Recorded] = [*dead, *rows]
    records = {record.position: record for record in every}
    return [records[position] for position in sorted(records)]
