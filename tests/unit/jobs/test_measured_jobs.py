"""Each claimed job is counted once, when it ends."""

from gengui_stream.domain.generation.jobs import Job
from gengui_stream.identifiers import new_id
from gengui_stream.jobs.measured_queue import MeasuredJobQueue
from gengui_stream.metrics import new_metrics
from gengui_stream.projections.job_rows import JobChanges
from gengui_stream.testing.job_queue import InMemoryJobs


async def test_each_job_is_counted_once_by_its_outcome() -> None:
    table, metrics = InMemoryJobs(), new_metrics()
    jobs = [Job(f"cancel:{number}", "cancel", new_id(), 1) for number in range(3)]
    table.write(JobChanges(made=jobs), 0)
    table.vouch([0])
    queue = MeasuredJobQueue(table.queue("cancel", owner="one"), "cancel", metrics)
    keys = [job.key for job in await queue.claim(9)]
    assert len(keys) == 3
    await queue.reschedule({keys[0]: 5.0})
    await queue.finish(keys)

    def counted(outcome: str) -> float | None:
        labels = {"kind": "cancel", "outcome": outcome}
        return metrics.registry.get_sample_value("gengui_jobs_done_total", labels)

    assert (counted("retried"), counted("done")) == (1, 2)
    assert metrics.registry.get_sample_value("gengui_job_seconds_count", {"kind": "cancel"}) == 3
