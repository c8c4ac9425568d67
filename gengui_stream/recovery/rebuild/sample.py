"""A sample of the rebuilt generations, folded again record by record: the chunks, the copies and the indexes of a
rebuild must have changed nothing."""

import random
from collections.abc import Sequence
from typing import Final

from gengui_stream.log.lookup.records import opened_lookup
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.recovery.generations.comparison import compare
from gengui_stream.recovery.generations.random_sample import random_generation
from gengui_stream.recovery.generations.refold import refold
from gengui_stream.recovery.generations.stored_rows import read_rows_on
from gengui_stream.recovery.rebuild.shadow.connection import ShadowConnection
from gengui_stream.settings import Settings
from gengui_stream.stamps import utc_now

GENERATIONS: Final = 20


async def differing_from_plain_fold(settings: Settings, connection: Connection) -> Sequence[str]:
    """The ids of those of GENERATIONS random generations whose rebuilt rows differ from their plain fold. The shadow
    must have all tables and stand still meanwhile."""
    shadow, chance, found = ShadowConnection(connection), random.Random(), set[str]()
    async with opened_lookup(settings) as log:
        with transient_errors():
            for _ in range(GENERATIONS):
                generation_id = await random_generation(shadow, chance, utc_now())
                if generation_id is None:
                    break
                rows = await read_rows_on(shadow, settings.events_topic, generation_id)
                folded = await refold(log, generation_id, rows.positions, rows.letters, settings.events_partitions)
                if folded.gone or not compare(folded, rows).agrees:
                    found.add(str(generation_id))
    return sorted(found)
