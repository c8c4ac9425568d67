"""What the read models of one partition must hold: the plain fold, nothing cached, nothing batched.

The only thing that is taken from the database are the decisions of people and of PostgreSQL about dead letters,
which no fold can know: which were retried or discarded, and which the database had refused. A retried letter was
folded together with all that waited behind it, in the order of the log, so it folds here as if it had never been
dead; a discarded one is passed over and holds nobody up.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from gengui_stream.domain.generation.jobs import Job
from gengui_stream.domain.generation.state import Generation
from gengui_stream.log.codec import Decoded, Undecodable
from gengui_stream.projecting.folding import decode_records, fold_records
from gengui_stream.projections import daily_counts, job_rows, provider_statistics
from gengui_stream.projections.outcomes import PARKED, Applied, DeadLettered, Outcome, Record, Tally


@dataclass(frozen=True, slots=True)
class Letter:
    """What the database says about a dead letter. `resolution` is None while it is open."""

    reason: str
    detail: str
    resolution: str | None

    @property
    def discarded(self) -> bool:
        """Only what holds others up can be discarded; what waits behind it cannot."""
        return self.resolution == "discarded" and self.reason != PARKED


@dataclass(slots=True)
class PartitionFold:
    """Everything that folding one partition from its start gives, up to the records fed so far."""

    tally: Tally = field(default_factory=Tally)
    states: dict[UUID, Generation] = field(default_factory=dict)
    applied_at: dict[UUID, int] = field(default_factory=dict)
    parked: set[UUID] = field(default_factory=set)
    days: Counter[daily_counts.Key] = field(default_factory=Counter)
    minutes: Counter[provider_statistics.Key] = field(default_factory=Counter)
    latencies: Counter[provider_statistics.LatencyKey] = field(default_factory=Counter)
    jobs: dict[str, Job] = field(default_factory=dict)

    def feed(self, records: Sequence[Record], letters: Mapping[int, Letter]) -> list[Outcome]:
        """Folds the next records, without a gap after those before; one entry each."""
        outcomes = self._fold(records, letters)
        self.tally.count(outcomes)
        self.applied_at.update((e.after.generation_id, e.record.offset) for e in outcomes if isinstance(e, Applied))
        self.days.update(daily_counts.count(outcomes))
        self.minutes.update(provider_statistics.count(outcomes))
        self.latencies.update(provider_statistics.count_latencies(outcomes))
        self.jobs.update((job.key, job) for job in job_rows.jobs_of(outcomes))
        return outcomes

    def _fold(self, records: Sequence[Record], letters: Mapping[int, Letter]) -> list[Outcome]:
        decoded = decode_records(records)
        if not letters:
            return fold_records(decoded, self.states, self.parked)
        return [self._fold_one(record, item, letters.get(record.offset)) for record, item in decoded]

    def _fold_one(self, record: Record, decoded: Decoded, letter: Letter | None) -> Outcome:
        generation_id = decoded.generation_id
        if letter is not None and letter.discarded:
            return DeadLettered(record, generation_id, letter.reason, letter.detail)
        if letter is not None and _held_back(letter, decoded):
            if generation_id is not None:
                self.parked.add(generation_id)
            return DeadLettered(record, generation_id, letter.reason, letter.detail)
        return fold_records([(record, decoded)], self.states, self.parked)[0]


def _held_back(letter: Letter, decoded: Decoded) -> bool:
    """An open letter that the fold alone would not make: the database refused it, or an older version could not
    read it. It stands until it is retried."""
    return letter.resolution is None and letter.reason != PARKED and not isinstance(decoded, Undecodable)
