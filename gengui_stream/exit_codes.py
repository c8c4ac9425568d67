"""What the exit code of a process says. Those from 64 on are sysexits.h's."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FINDING = 1
    """The command worked and found something: a difference, too much lag, nothing of that name."""
    USAGE = 2
    UNAVAILABLE = 69
    """A server cannot be reached; the same command may work later."""
    BUG = 70
    """An unexpected error, or the loss of a partition to another process: start it again."""
    CONFIGURATION = 78
    """The settings are wrong; starting it again will not help."""
