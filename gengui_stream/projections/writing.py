"""All read models together: whoever folds records writes everything that follows from them in one transaction."""

from collections.abc import Sequence

from gengui_stream.domain.reactions import Job
from gengui_stream.postgres.pool import Connection
from gengui_stream.projections import (
    daily_counts,
    dead_letters,
    generation_requests,
    generation_states,
    job_rows,
    provider_statistics,
    timeline,
)
from gengui_stream.projections.folding import Entry


async def write_read_models(
    connection: Connection, topic: str, partition: int, entries: Sequence[Entry], jobs: Sequence[Job]
) -> None:
    """Within the caller's transaction. `entries` are in the order of the log."""
    await generation_requests.write(connection, generation_requests.rows_of(entries))
    await generation_states.write(connection, generation_states.rows_of(entries, partition))
    await timeline.write(connection, timeline.rows_of(entries, partition))
    await daily_counts.write(connection, daily_counts.rows_of(daily_counts.count(entries), partition))
    minutes = provider_statistics.rows_of(provider_statistics.count(entries), partition)
    await provider_statistics.write(connection, minutes)
    latencies = provider_statistics.count_latencies(entries)
    await provider_statistics.write_latencies(connection, provider_statistics.latency_rows_of(latencies, partition))
    await dead_letters.write(connection, dead_letters.rows_of(entries, topic, partition))
    await job_rows.write(connection, jobs)
