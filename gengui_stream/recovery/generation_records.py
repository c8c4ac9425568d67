"""All records of one generation, ignored and dead-lettered ones included."""

from typing import TypeAlias
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool
from gengui_stream.projections import timeline
from gengui_stream.projections.timeline import TimelineRow
from gengui_stream.recovery import dead_letters
from gengui_stream.recovery.dead_letters import DeadLetter

Recorded: TypeAlias = TimelineRow | DeadLetter


async def records_of(pool: Pool, topic: str, generation_id: UUID) -> list[Recorded]:
    """In the order of the log. Raises PermanentError when the log has no record of the generation."""
    dead = await dead_letters.not_folded(pool, topic, generation_id)
    # Read second: a dead letter that is retried in between counts as folded.
    rows = await timeline.of_generation(pool, generation_id)
    every: list[Recorded] = [*dead, *rows]
    records = {record.position: record for record in every}
    if not records:
        raise PermanentError(f"nothing is recorded of generation {generation_id}")
    return [records[position] for position in sorted(records)]
