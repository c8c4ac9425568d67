"""The exit codes of processes. Those from 64 on are from sysexits.h."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FINDING = 1
    """The command succeeded with a finding: a difference, too much lag, an unknown name."""
    USAGE = 2
    UNAVAILABLE = 69
    """A server is unavailable; the same command may succeed later."""
    BUG = 70
    """An unexpected error, or a partition that another process has taken over: restart the process."""
    CONFIGURATION = 78
    """The settings are invalid; a restart does not help."""
