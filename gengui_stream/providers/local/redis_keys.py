"""Where the queue of the provider `local` is on Redis: a contract with every worker, whatever it is written in."""

from typing import Final
from uuid import UUID

QUEUE_STREAM: Final = "generation:stream"
JOB_KEPT_S: Final = 7 * 24 * 3600
"""Hashes expire this long after the last write, which is long after any deadline."""


def job_key(generation_id: UUID) -> str:
    """The key of a job's hash."""
    return f"jobs:{generation_id}"
