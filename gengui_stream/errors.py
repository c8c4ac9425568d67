"""The one error tree.

    GenGuiError
    ├── TransientError        the same call may succeed later: retry with back-off
    ├── PermanentError        the same call can never succeed: dead-letter it, or refuse it
    ├── BugError              our own assumption is broken: let the process end
    │   └── FencedError       another owner holds the partition: abort, exit, start again
    └── ConfigurationError    the process cannot start with these settings

Expected refusals (a bad request, a job that is gone) are values, not exceptions.
"""


class GenGuiError(Exception):
    """Base of every error this project raises on purpose."""


class TransientError(GenGuiError):
    """The same call may succeed later."""


class PermanentError(GenGuiError):
    """The same call can never succeed."""


class BugError(GenGuiError):
    """An assumption of ours does not hold; the process must end rather than guess."""


class FencedError(BugError):
    """Another process owns the partition by now: nothing of this batch was committed."""


class ConfigurationError(GenGuiError):
    """Every fault of the settings at once, one a line, each naming the variable."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("invalid configuration:\n" + "\n".join(f"  {fault}" for fault in faults))
