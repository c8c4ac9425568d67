"""Where the queue of the provider `local` is on Redis: a contract with every worker, whatever it is written in."""

from typing import Final
from uuid import UUID

JOB_PREFIX: Final = "jobs:"
QUEUE_STREAM: Final = "generation:stream"
WORKER_GROUP: Final = "generation-workers"
DEAD_STREAM: Final = f"{QUEUE_STREAM}:dead"
"""Entries that name no generation, as no failure can be reported of them."""

DEAD_MAX: Final = 10_000
LEASES: Final = "generation:leases"
"""The ends of the leases of workers over HTTP, in Unix milliseconds, by the generation's id."""

UPLOADS: Final = "generation:uploads"
"""The keys that workers over HTTP got signed URLs for, by the Unix time of their last check."""

JOB_KEPT_S: Final = 7 * 24 * 3600
"""Hashes expire this long after the last write, which is long after any deadline."""

INDEX_MAX: Final = 100_000
"""Queued entries of one model that a claim by model finds: entries that other workers read stay in the index until a
claim meets them, so it must end somewhere."""

DELIVERIES_MAX: Final = 5
"""A job that was delivered this often without an end has crashed its workers, and is failed."""


def job_key(generation_id: UUID) -> str:
    """The key of a job's hash."""
    return f"{JOB_PREFIX}{generation_id}"


def lease_key(generation_id: UUID) -> str:
    """The key of the hash of a job's lease."""
    return f"{JOB_PREFIX}{generation_id}:lease"


def model_index(model: str) -> str:
    """The key of the list of a model's queued entries."""
    return f"generation:queue:{model}"
