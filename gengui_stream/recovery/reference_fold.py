"""The expected read models of one partition: a plain fold, without caches or batches.

Only the resolutions of dead letters come from the database, because they do not follow from the log: which were retried
or discarded, and which the database had rejected. A retried dead letter was folded together with the events parked
behind it, in the order of the log, so it folds here like any other record; a discarded one is skipped and parks no
later event.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from gengui_stream.domain.generation.jobs import Job, JobTimings
from gengui_stream.log.codec import Decoded, Undecodable
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projections import daily_counts, generation_states, job_rows, provider_statistics
from gengui_stream.projections.outcomes import PARKED, DeadLettered, Outcome, Record, Tally


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """The stored facts of a dead letter. `resolution` is None while it is open."""

    reason: str
    detail: str
    resolution: str | None

    @property
    def discarded(self) -> bool:
        """A parked event cannot be discarded, only the dead letter in front of it."""
        return self.resolution == "discarded" and self.reason != PARKED


@dataclass(slots=True)
class PartitionFold:
    """The result of folding one partition from its start, up to the records fed so far."""

    timings: JobTimings
    tally: Tally = field(default_factory=Tally)
    known: FoldState = field(default_factory=FoldState)
    changed_at: dict[UUID, int] = field(default_factory=dict)
    days: Counter[daily_counts.Key] = field(default_factory=Counter)
    minutes: Counter[provider_statistics.Key] = field(default_factory=Counter)
    latencies: Counter[provider_statistics.LatencyKey] = field(default_factory=Counter)
    jobs: dict[str, Job] = field(default_factory=dict)

    def feed(self, records: Sequence[Record], letters: Mapping[int, LetterFacts]) -> list[Outcome]:
        """Folds the next records, which must follow the earlier ones without a gap; one outcome each."""
        outcomes = self._fold(records, letters)
        self.tally.count(outcomes)
        self.changed_at.update((state.generation_id, offset) for state, offset in generation_states.changes(outcomes))
        self.days.update(daily_counts.count(outcomes))
        self.minutes.update(provider_statistics.count(outcomes))
        self.latencies.update(provider_statistics.count_latencies(outcomes))
        self.jobs.update((job.key, job) for job in job_rows.changes_of(outcomes, self.timings).made)
        return outcomes

    def _fold(self, records: Sequence[Record], letters: Mapping[int, LetterFacts]) -> list[Outcome]:
        decoded = decode_records(records)
        if not letters:
            return fold_records(decoded, self.known)
        return [self._fold_one(record, item, letters.get(record.offset)) for record, item in decoded]

    def _fold_one(self, record: Record, decoded: Decoded, letter: LetterFacts | None) -> Outcome:
        generation_id = decoded.generation_id
        if letter is not None and letter.discarded:
            return DeadLettered(record, generation_id, letter.reason, letter.detail)
        if letter is not None and _held_back(letter, decoded):
            if generation_id is not None:
                self.known.parked.add(generation_id)
            return DeadLettered(record, generation_id, letter.reason, letter.detail)
        return fold_records([(record, decoded)], self.known)[0]


def _held_back(letter: LetterFacts, decoded: Decoded) -> bool:
    """Whether the dead letter was caused by the database's rejection or by an older version that could not decode the
    record, so that it stays until it is retried although this fold succeeds."""
    return letter.resolution is None and letter.reason != PARKED and not isinstance(decoded, Undecodable)
