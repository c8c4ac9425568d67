"""The errors of this project.

    GenGuiError
    ├── TransientError        the same call may succeed later: retry with back-off
    ├── PermanentError        the same call can never succeed: dead-letter it, or refuse it
    ├── BugError              an assumption of the code is broken: let the process end
    │   ├── FencedError       another owner holds the partition: abort, exit, restart
    │   └── DeadLetterFloodError  so many dead letters that the records cannot be at fault
    └── ConfigurationError    the process cannot start with these settings

Expected refusals (a bad request, a deleted job) are values, not exceptions.
"""


class GenGuiError(Exception):
    """The base of every deliberate error."""


class TransientError(GenGuiError):
    """The same call may succeed later."""


def is_closed_connection(error: RuntimeError) -> bool:
    """Whether it is uvloop's error for a write to a connection that has ended, where asyncio raises none. Clients learn
    of the end a moment later."""
    return "the handler is closed" in str(error)


class PermanentError(GenGuiError):
    """The same call can never succeed."""


class BugError(GenGuiError):
    """A bug: an assumption of the code does not hold, and the process must end."""


class FencedError(BugError):
    """Another process owns the partition: nothing of this batch was committed."""


class DeadLetterFloodError(BugError):
    """The dead letters of a partition have reached a limit: nothing of this batch was committed."""


class ConfigurationError(GenGuiError):
    """All faults of the settings, one per line, each with its variable."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("invalid configuration:\n" + "\n".join(f"  {fault}" for fault in faults))
