"""Why events change nothing."""

from enum import StrEnum
from typing import Final


class IgnoredReason(StrEnum):
    """Why an event changed nothing."""

    NOT_REQUESTED = "not_requested"
    ALREADY_REQUESTED = "already_requested"
    ALREADY_DISPATCHED = "already_dispatched"
    ALREADY_ACCEPTED = "already_accepted"
    ALREADY_STARTED = "already_started"
    ALREADY_CANCEL_REQUESTED = "already_cancel_requested"
    ALREADY_DELETED = "already_deleted"
    NOT_NEWER = "not_newer"
    HEARD_SINCE = "heard_since"
    TERMINAL = "terminal"
    STALE_ATTEMPT = "stale_attempt"
    UNKNOWN_ATTEMPT = "unknown_attempt"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    NOT_COMPLETED = "not_completed"
    UNKNOWN_OUTPUT = "unknown_output"
    THUMBNAIL_EXISTS = "thumbnail_exists"
    THUMBNAIL_ALREADY_REQUESTED = "thumbnail_already_requested"
    OTHER_THUMBNAIL_REVISION = "other_thumbnail_revision"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    IMPLAUSIBLE_TIME = "implausible_time"
    DUPLICATE = "duplicate"
    WRONG_PARTITION = "wrong_partition"


TOO_EARLY: Final = frozenset(
    {IgnoredReason.UNKNOWN_ATTEMPT, IgnoredReason.NOT_COMPLETED, IgnoredReason.ATTEMPTS_EXHAUSTED}
)
"""The reasons to ignore an event that could apply later, while the generation has not ended: a retry without attempts
left would end a generation that is being canceled."""
