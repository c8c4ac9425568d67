"""The errors of this project.

    GenGuiError
    ├── TransientError        the same call may succeed later: retry with back-off
    │   └── TlsError          the server is not trusted, or does not trust us: an operator mends it
    ├── PermanentError        the same call can never succeed: dead-letter it, or refuse it
    ├── BugError              an assumption of the code is broken: let the process end
    │   ├── FencedError       another owner holds the partition: abort, exit, restart
    │   └── DeadLetterFloodError  so many dead letters that the records cannot be at fault
    └── ConfigurationError    the process cannot start with these settings

Expected refusals (a bad request, a deleted job) are values, not exceptions.
"""

import os
import ssl


class GenGuiError(Exception):
    """The base of every deliberate error."""


class TransientError(GenGuiError):
    """The same call may succeed later."""


class TlsError(TransientError):
    """TLS with a server failed for a certificate, or for what one side does not offer. A role waits, since the operator
    of the server may mend it; a command ends. `fault` and `remedy`: for people."""

    def __init__(self, fault: str, remedy: str) -> None:
        self.fault, self.remedy = fault, remedy
        super().__init__(f"{fault}: {remedy}")


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


def reason(error: BaseException) -> str:
    """Why a connection failed, for people: the words of the operating system, else the type and the message."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"TLS: certificate verify failed: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case TimeoutError() if not str(error):
            return "no answer in time"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(words)):
            return words
        case _:
            return f"{type(error).__name__}: {error}"
