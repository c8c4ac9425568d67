"""The generation that an operator names: its rows, its positions in the log, and its fold."""

from dataclasses import dataclass
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.log.lookup.records import LogLookup
from gengui_stream.log.positions import Position
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.generations.refold import Refold, fold_again, read_at
from gengui_stream.recovery.generations.scan import Progress, scan, unseen
from gengui_stream.recovery.generations.stored_rows import StoredRows, read_rows
from gengui_stream.settings import Settings


class NotRecordedError(PermanentError):
    """There is no record of the generation."""


@dataclass(frozen=True, slots=True)
class Records:
    """`stored`: the rows of the projections. `records`: of the log, by position. `found`: the positions that only a
    scan of the log found."""

    stored: StoredRows
    records: dict[Position, LogRecord]
    found: tuple[Position, ...]

    def refolded(self, partitions: int) -> Refold:
        positions = [*self.stored.positions, *self.found]
        return fold_again(self.stored.generation_id, positions, self.records, self.stored.letters, partitions)


async def records_of(
    settings: Settings,
    pool: Pool,
    log: LogLookup,
    generation_id: UUID,
    *,
    scanned: bool = False,
    progress: Progress = unseen,
) -> Records:
    """`scanned`: also those that the projections do not know. Raises NotRecordedError when there is no record of
    the generation, PermanentError when only a scan finds them all; TransientError when a server is unavailable."""
    stored = await read_rows(pool, settings.events_topic, generation_id)
    found = (await scan(settings, log, stored, progress)).difference(stored.positions) if scanned else set[Position]()
    if not (stored.positions or found):
        raise NotRecordedError(_unknown(stored, scanned=scanned))
    if stored.pruned_before is not None and not scanned:
        raise PermanentError(
            f"events of {generation_id} before {stored.pruned_before:%Y-%m-%d %H:%M:%S} UTC were removed from the "
            "timeline: --scan finds them in the log"
        )
    records = await read_at(log, [*stored.positions, *found])
    return Records(stored, records, tuple(sorted(found)))


def _unknown(stored: StoredRows, *, scanned: bool) -> str:
    if scanned:
        return f"neither the projections nor the log have a record of generation {stored.generation_id}"
    rows = " but a state" if stored.state is not None else ""
    return f"nothing is recorded of generation {stored.generation_id}{rows}: --scan searches the log for it"
