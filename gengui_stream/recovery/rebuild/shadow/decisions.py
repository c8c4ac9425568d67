"""What operators decided on dead letters, carried over into the shadow's rows.

A record that was discarded is not folded by a rebuild either. One that was retried, or that is open but can be folded
by now, is folded like any other: its row then says that it was retried.
"""

from collections.abc import Mapping
from typing import Final

from gengui_stream.postgres.pool import Connection

FOLDED: Final = """
INSERT INTO projections_next.dead_letters (topic, partition, log_offset, generation_id, reason, detail, record_key,
    record_value, appended_at, created_at, resolution, resolved_at)
SELECT topic, partition, log_offset, generation_id, reason, detail, record_key, record_value, appended_at,
    l.created_at, 'retried', coalesce(resolved_at, now())
FROM projections.dead_letters l
    JOIN unnest($2::int[], $3::bigint[]) AS since (partition, first_offset) USING (partition)
    JOIN projections_next.checkpoints c USING (topic, partition)
WHERE topic = $1 AND log_offset >= first_offset AND log_offset < c.next_offset
ON CONFLICT DO NOTHING
"""

FIRST_SEEN: Final = """
UPDATE projections_next.dead_letters n SET created_at = l.created_at
FROM projections.dead_letters l
    JOIN unnest($2::int[], $3::bigint[]) AS since (partition, first_offset) USING (partition)
WHERE l.topic = $1 AND l.log_offset >= first_offset AND n.topic = l.topic AND n.partition = l.partition
    AND n.log_offset = l.log_offset AND n.created_at <> l.created_at
"""


async def carry_over(connection: Connection, topic: str, since: Mapping[int, int]) -> None:
    """Of dead letters from the offsets in `since` on, by partition. Safe to repeat. Needs the primary key."""
    for statement in (FOLDED, FIRST_SEEN):
        await connection.execute(statement, topic, list(since.keys()), list(since.values()))
