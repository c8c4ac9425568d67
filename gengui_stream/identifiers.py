"""New ids from the clock and the system's entropy; `domain.identifiers` is the pure part."""

import os
import socket
import time
from datetime import datetime
from uuid import UUID

from gengui_stream.domain.identifiers import uuid7


def new_id() -> UUID:
    """A UUIDv7 of the current time. Ids sort by their creation to the millisecond."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def lowest_id_of(moment: datetime) -> UUID:
    """No id that is made at the moment or later sorts before it."""
    return uuid7(int(moment.timestamp() * 1_000), bytes(10))


def process_name(role: str) -> str:
    """The producer in events: the role, the machine, the process."""
    return f"{role}/{socket.gethostname()[:60]}-{os.getpid()}"


def owner_name(role: str) -> str:
    """A name that is unique to this start of the process: for leases and consumer groups."""
    return f"{process_name(role)}-{os.urandom(4).hex()}"
