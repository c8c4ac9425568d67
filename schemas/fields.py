"""Field types shared by events, requests and resources. Each bound is part of the published contract."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

PROMPT_MAX_CHARACTERS = 10_000
SEED_MAX = 2**53 - 1
"""The largest integer that every JSON reader represents exactly."""

SIZE_MIN, SIZE_MAX, SIZE_STEP = 256, 2048, 64
"""Pixels. The grid of the original service for local and RunPod providers."""


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within hours of the end of the calendar: unchanged
        return moment


def _iso_utc(moment: datetime) -> str:
    return _in_utc(moment).isoformat().replace("+00:00", "Z")


# PostgreSQL text cannot hold U+0000, so it is refused in requests and events, not in a transaction.
NO_NUL = r"^[^\x00]*$"

WORD = r"^[A-Za-z0-9_]*$"

Moment = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(_iso_utc, return_type=str, when_used="json")]
"""An instant: accepted with any zone, kept in UTC, written as RFC 3339 with a `Z`. Python compares instants that share
a zone object many times faster, and the fold compares each of them several times."""

Prompt = Annotated[str, Field(min_length=1, max_length=PROMPT_MAX_CHARACTERS, pattern=NO_NUL)]


def _with_text(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("must have a character that is not white space")
    return prompt


RequestedPrompt = Annotated[
    Prompt, AfterValidator(_with_text), Field(json_schema_extra={"pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"})
]
"""Of requests: events of other producers may have a blank one."""

Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
Pixels = Annotated[int, Field(ge=1, le=65_535)]
NAME_MAX = 100
Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX, pattern=NO_NUL)]
"""The name of a model, a provider or a worker; short, for people and for labels."""
TEXT_MAX = 2_000
Text = Annotated[str, Field(max_length=TEXT_MAX, pattern=NO_NUL)]
ObjectKey = Annotated[str, Field(min_length=1, max_length=1_024, pattern=NO_NUL)]
OutputId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Attempt = Annotated[int, Field(ge=1, le=1_000)]
Revision = Annotated[int, Field(ge=1, le=1_000_000)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
RetryAfter = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
ByteCount = Annotated[int, Field(ge=0, le=2**53 - 1)]
ErrorCode = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]{1,64}$")]
TraceParent = Annotated[str, Field(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
TraceState = Annotated[str, Field(max_length=512, pattern=NO_NUL)]


def _on_the_grid(pixels: int) -> int:
    if pixels % SIZE_STEP:
        nearest = min(max(round(pixels / SIZE_STEP) * SIZE_STEP, SIZE_MIN), SIZE_MAX)
        raise ValueError(f"must be a multiple of {SIZE_STEP}; the nearest allowed size is {nearest}")
    return pixels


GridPixels = Annotated[
    int,
    Field(ge=SIZE_MIN, le=SIZE_MAX, json_schema_extra={"multipleOf": SIZE_STEP}),
    AfterValidator(_on_the_grid),
]
"""A side of an image in a request."""

Id = UUID

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_WRITTEN: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def written_uuid(text: str) -> UUID:
    """Of its one textual form (RFC 9562, section 4). Raises ValueError for others that `UUID` takes: URNs, braces, and
    digits without hyphens."""
    if not _WRITTEN.fullmatch(text):
        raise ValueError("must be a UUID of 32 hexadecimal digits in five groups")
    return UUID(text)


def is_rfc_3339(text: str) -> bool:
    """pydantic takes other texts for a time, too: Unix seconds, for example."""
    return _RFC_3339.fullmatch(text) is not None


def _written_id(given: object) -> object:
    return written_uuid(given) if isinstance(given, str) else given


def _written_moment(given: object) -> object:
    if isinstance(given, datetime) or (isinstance(given, str) and is_rfc_3339(given)):
        return given
    raise ValueError("must be a date and time of RFC 3339, with its offset from UTC")


WrittenId = Annotated[UUID, BeforeValidator(_written_id)]
"""An id in a request. Events on the log may have it in any form that `UUID` takes."""
WrittenMoment = Annotated[Moment, BeforeValidator(_written_moment)]
"""A time in a request."""
