"""How many event streams of one user are open at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from api.http.problems import Refusal
from api.limits.open_counts import OpenCounts

STREAMS_MAX: Final = 50
"""An open stream holds a connection, and reads a few rows every two seconds, so that a flood of them would take memory
and pool from other users. A browser has one a tab."""

STREAM_RETRY_S: Final = 10
"""When a stream ends cannot be known."""


class StreamLimit:
    """Counts the open streams of each user in this process."""

    def __init__(self) -> None:
        self._open = OpenCounts()

    @contextmanager
    def admitted(self, user_id: UUID) -> Iterator[None]:
        """Raises a 429 refusal for a stream beyond STREAMS_MAX."""
        if self._open.of(user_id) >= STREAMS_MAX:
            raise _too_many()
        with self._open.one_more(user_id):
            yield


def _too_many() -> Refusal:
    detail = (
        f"at most {STREAMS_MAX} event streams of a user are open at a time; close one, or share one among its readers"
    )
    return Refusal(429, "too_many_streams", detail, headers={"Retry-After": str(STREAM_RETRY_S)})
