"""New ids from the clock and the system's entropy; the pure part is `domain.identifiers`."""

import os
import time
from uuid import UUID

from gengui_stream.domain.identifiers import uuid7


def new_id() -> UUID:
    """A UUIDv7 of now: ids of one process sort by creation to the millisecond."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
