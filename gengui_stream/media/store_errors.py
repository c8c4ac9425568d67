"""What an S3-compatible store answers, by what the caller may do: try again, take the object for missing, or give up.

Statuses decide first, because stores agree on them more than on codes. The codes are those of the S3 API reference
("Error responses", List of error codes) and the ones that botocore's standard retry mode retries.
"""

from typing import TYPE_CHECKING, Final

from gengui_stream.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""Besides all from 500 on."""

PASSING_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "ExpiredToken",  # credentials of a role are renewed
        "ExpiredTokenException",
        "InternalError",
        "NoSuchBucket",  # the start of the system creates it
        "OperationAborted",  # another operation on the same object is in progress
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeTooSkewed",  # the clock of this machine; each request fails until it is right
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttled",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TokenRefreshRequired",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

MISSING_CODES: Final = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})

HIDING_CODES: Final = frozenset({"403", "AccessDenied", "AllAccessDisabled", "Forbidden"})
"""Without the right to list the bucket, S3 answers a read of a missing object with these."""


class ObjectMissing(PermanentError):
    """The key has no object, or none that these credentials may see; it may arrive later."""


class ObjectTooLarge(PermanentError):
    """The object has more bytes than the caller accepts; the rest was not read."""


def classified(error: "ClientError") -> TransientError | PermanentError:
    """The error of any operation."""
    code = code_of(error)
    if code in PASSING_CODES or status_of(error) in PASSING_STATUSES or status_of(error) >= 500:
        return TransientError(f"object store: {error}")
    return ObjectMissing(str(error)) if code in MISSING_CODES else PermanentError(f"object store: {error}")


def hides_missing(error: "ClientError") -> bool:
    """Whether a read failed as it does for a missing object in a bucket that may not be listed."""
    return code_of(error) in HIDING_CODES


def code_of(error: "ClientError") -> str:
    """Of a response without a body, its status."""
    return error.response.get("Error", {}).get("Code", "")


def status_of(error: "ClientError") -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
