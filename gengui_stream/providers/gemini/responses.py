"""What Gemini's answers say. Pure: whatever comes is one of a few values, and never an exception.

200 does not mean an image: https://ai.google.dev/api/generate-content#FinishReason and the table of API errors.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import orjson

from gengui_stream.providers.interface import Blame, Moderated, Refused

MODERATED: Final = frozenset(
    {
        "SAFETY",
        "IMAGE_SAFETY",
        "PROHIBITED_CONTENT",
        "IMAGE_PROHIBITED_CONTENT",
        "RECITATION",
        "IMAGE_RECITATION",
        "BLOCKLIST",
        "SPII",
    }
)
"""Finish reasons that are about what was asked for: another try would only ask again."""

MESSAGE_MAX: Final = 500
RETRY_AFTER_MAX_S: Final = 86_400.0

Json: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Images:
    """In order, drafts left out; not looked at yet."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model goes away, by what its own answers say."""

    model: str
    at: datetime
    stage: str


Reading: TypeAlias = Images | Moderated | Refused


def read_answer(body: bytes) -> Reading:
    """The body of a 200."""
    document = _object(_json(body))
    if document is None:
        return Refused("bad_answer", "Gemini answered with something that is not its JSON", retryable=True)
    parts = list(_parts(document))
    bodies = [found for part in parts if (found := _image(part)) is not None]
    if any(found == b"" for found in bodies):
        return Refused("bad_answer", "Gemini answered with an image that is not base64", retryable=True)
    return Images(tuple(bodies)) if bodies else _no_image(document)


def _no_image(document: Json) -> Moderated | Refused:
    feedback = _object(document.get("promptFeedback")) or {}
    if block_reason := _word(feedback.get("blockReason")):
        return Moderated(f"the prompt was blocked: {block_reason}")
    reasons = [_word(candidate.get("finishReason")) for candidate in _objects(document.get("candidates"))]
    for reason in reasons:
        if reason in MODERATED:
            return Moderated(f"the image was withheld: {reason}")
    reason = next((found for found in reasons if found), "no reason given")
    # Nothing is wrong with the provider, so its circuit does not hear of it.
    return Refused("no_image", f"Gemini made no image: {reason}", retryable=True, blame=Blame.REQUEST)


def _parts(document: Json) -> Iterator[Json]:
    """Of every candidate, those that are not thoughts: drafts are."""
    for candidate in _objects(document.get("candidates")):
        content = _object(candidate.get("content")) or {}
        yield from (part for part in _objects(content.get("parts")) if part.get("thought") is not True)


def _image(part: Json) -> bytes | None:
    """None: the part is none; empty: it should be one, and cannot be read."""
    inline = _object(part.get("inlineData"))
    if inline is None:
        return None
    data = inline.get("data")
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return b""


def read_retirement(body: bytes, model: str) -> Retirement | None:
    """What `modelStatus` of an answer says of the model that gave it."""
    status = _object((_object(_json(body)) or {}).get("modelStatus")) or {}
    at = _moment(status.get("retirementTime"))
    return Retirement(model, at, _word(status.get("modelStage")) or "UNKNOWN") if at else None


def read_error(status: int, body: bytes, retry_after: str | None, now: datetime) -> Refused:
    """Any answer but a 200. Google's error may come alone, or as a list of one."""
    error = _error(_json(body))
    details = _objects(error.get("details"))
    message = _message(error) or f"HTTP {status}"
    said = f"Gemini: {status} {_word(error.get('status')) or ''}".rstrip() + f": {message}"
    wait = _retry_after_s(retry_after, details, now)
    match status:
        case 429:
            return Refused("rate_limited", said, retryable=True, blame=Blame.CAPACITY, retry_after_s=wait)
        case 400 if not _is_ours(error, details):
            return Refused("invalid_request", said, retryable=False, blame=Blame.REQUEST)
        case 400 | 401 | 402 | 403 | 404:
            return Refused("provider_misconfigured", said, retryable=True, blame=Blame.CONFIGURATION)
        case 408 | 499:  # 499: Google saw us leave, and so do proxies
            return Refused("provider_error", said, retryable=True, retry_after_s=wait)
        case _ if 400 <= status < 500:
            return Refused("invalid_request", said, retryable=False, blame=Blame.REQUEST)
        case _:
            return Refused("provider_error", said, retryable=True, retry_after_s=wait)


def _is_ours(error: Json, details: Sequence[Json]) -> bool:
    """A 400 that is about our account and not about the request."""
    reasons = {_word(detail.get("reason")) for detail in details}
    return _word(error.get("status")) == "FAILED_PRECONDITION" or "API_KEY_INVALID" in reasons


def _error(document: object) -> Json:
    if isinstance(document, list):
        document = document[0] if document else None
    return _object((_object(document) or {}).get("error")) or {}


def _message(error: Json) -> str:
    message = error.get("message")
    return message[:MESSAGE_MAX] if isinstance(message, str) else ""


def _retry_after_s(header: str | None, details: Sequence[Json], now: datetime) -> float | None:
    """The longer of the header, in seconds or as a date, and of google.rpc.RetryInfo, whose delay is like `1.5s`."""
    delays = [detail.get("retryDelay") for detail in details]
    waits = [_seconds(delay.removesuffix("s")) for delay in delays if isinstance(delay, str)]
    if header is not None:
        waits += [_seconds(header), _seconds_until(header, now)]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, RETRY_AFTER_MAX_S) if seconds >= 0 else None  # nan is not


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        left = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, left.total_seconds()), RETRY_AFTER_MAX_S)


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _word(value: object) -> str:
    """The name of a reason or state: in capitals, as Google writes them."""
    return value.upper()[:100] if isinstance(value, str) else ""


def _json(body: bytes) -> object:
    try:
        document: object = orjson.loads(body)
    except ValueError:
        return None
    return document


def _object(value: object) -> Json | None:
    return value if isinstance(value, dict) else None


def _objects(value: object) -> list[Json]:
    return [found for found in value if isinstance(found, dict)] if isinstance(value, list) else []
