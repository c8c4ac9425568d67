"""The result of a committed transaction for one partition."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.projections.outcomes import Outcome, Tally


@dataclass(frozen=True, slots=True)
class ProjectedBatch:
    """The result of one committed transaction for one partition: `outcomes` in the order of the log, and the changes of
    its `jobs`."""

    partition: int
    next_offset: int
    outcomes: Sequence[Outcome] = ()
    jobs: JobChanges = field(default_factory=JobChanges)
    tally: Tally = field(default_factory=Tally)


def joined(partition: int, batches: Sequence[ProjectedBatch]) -> ProjectedBatch:
    """The results of consecutive transactions of one partition as one."""
    outcomes = [outcome for batch in batches for outcome in batch.outcomes]
    made = [job for batch in batches for job in batch.jobs.made]
    obsolete = [key for batch in batches for key in batch.jobs.obsolete]
    jobs = JobChanges(made, obsolete)
    return ProjectedBatch(partition, batches[-1].next_offset, outcomes, jobs, Tally().count(outcomes))
