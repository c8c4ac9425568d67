"""What the errors of a provider mean, as rows of one table for each provider. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import FaultDomain, Refused

RFC_9110: Final = "RFC 9110, HTTP Semantics, 15 (Status Codes)"


class Meaning(StrEnum):
    """What a repetition of the call would bring. REFUSAL: the same, as the request is at fault. PERMANENT: the same for
    every request, until an operator acts; another provider may take the attempt. LIMITED: success once there are fewer
    calls. TRANSIENT: success later. UNKNOWN: perhaps a second run, as the call may have been carried out."""

    REFUSAL = "refusal"
    PERMANENT = "permanent"
    LIMITED = "limited"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """`status`: the HTTP status, or several. `source`: the page or program that states it. `word`: a code that the body
    must have too; None: any body."""

    status: int | range
    meaning: Meaning
    source: str
    word: str | None = None

    def fits(self, status: int, words: Collection[str]) -> bool:
        known = status == self.status if isinstance(self.status, int) else status in self.status
        return known and (self.word is None or self.word in words)


def meaning_of(table: Sequence[Row], status: int, words: Collection[str]) -> Meaning:
    """By the first row that fits. A status that no table has is a broken server's."""
    return next((row.meaning for row in table if row.fits(status, words)), Meaning.TRANSIENT)


def refused(meaning: Meaning, message: str, retry_after_s: float | None) -> Refused:
    """Raises TransientError where the outcome is unknown."""
    match meaning:
        case Meaning.REFUSAL:
            return Refused("invalid_request", message, retryable=False, fault_domain=FaultDomain.REQUEST)
        case Meaning.PERMANENT:
            return Refused("provider_misconfigured", message, retryable=True, fault_domain=FaultDomain.CONFIGURATION)
        case Meaning.LIMITED:
            return Refused("rate_limited", message, True, FaultDomain.CAPACITY, retry_after_s)
        case Meaning.TRANSIENT:
            return Refused("provider_error", message, True, FaultDomain.PROVIDER, retry_after_s)
        case Meaning.UNKNOWN:
            raise TransientError(message)
        case _:
            assert_never(meaning)
