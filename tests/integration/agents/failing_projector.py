"""A projector that fails, and the events that it is given."""

from collections.abc import Mapping, Sequence

from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projecting.projector import Projector
from gengui_stream.projections.outcomes import Record
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import (
    progress,
)
from tests.integration.running import a_request

EVENTS = 40


class Failing(Projector):
    """Raises an unexpected error on a batch that it cannot project."""

    async def project_all(self, batches: Mapping[int, Sequence[Record]]) -> list[ProjectedBatch]:
        if any(records[-1].offset >= 5 for records in batches.values()):
            raise RuntimeError("a bug in our code")
        return await super().project_all(batches)


async def append(event_log: EventLog, number: int = EVENTS) -> None:
    await event_log.append_many([a_request() for _ in range(number)])


async def all_applied(settings: Settings, pool: Pool, number: int = EVENTS) -> bool:
    done = await progress(pool, settings)
    assert done.consistent
    return done.applied == done.next_offset == number
