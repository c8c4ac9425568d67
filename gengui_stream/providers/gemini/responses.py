"""Gemini's responses as outcomes. Pure and total: any body becomes a value, never an exception.

200 does not mean an image: https://ai.google.dev/api/generate-content#FinishReason. Other statuses are in `errors`.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import orjson

from gengui_stream.providers.error_table import meaning_of, refused
from gengui_stream.providers.gemini.errors import ERRORS
from gengui_stream.providers.interface import FaultDomain, Moderated, Refused
from gengui_stream.providers.words import one_line, with_words, words_of

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
"""Finish reasons that are about the prompt or the image: a second attempt would end the same way."""

RETRY_AFTER_MAX_S: Final = 86_400.0

Json: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Images:
    """In order, without drafts; not inspected yet."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model will be retired, according to its own responses."""

    model: str
    at: datetime
    stage: str


ResponseOutcome: TypeAlias = Images | Moderated | Refused


def read_response(body: bytes, now: datetime) -> ResponseOutcome:
    """The outcome of a response with status 200. A gateway may put an error into it, with its status as `code`."""
    document = _json(body)
    error = _error(document)
    if error:
        code = error.get("code")
        return read_error(code if isinstance(code, int) and code >= 400 else 500, body, None, now)
    answer = _object(document)
    if answer is None:
        return Refused("bad_answer", "Gemini returned a body that is not its JSON", retryable=True)
    bodies = _bodies(answer)
    if any(found == b"" for found in bodies):
        return Refused("bad_answer", "Gemini returned an image that is not base64", retryable=True)
    return Images(tuple(bodies)) if bodies else _no_image(answer)


def _bodies(document: Json) -> Sequence[bytes]:
    """Of the thoughts, which contain drafts, the last image, and only where there is no other and the model ended as it
    should: it may mark its one image as a thought."""
    candidates = _objects(document.get("candidates"))
    parts = [part for candidate in candidates for part in _parts(candidate)]
    results = [found for part in parts if not _is_thought(part) and (found := _image(part)) is not None]
    finished = (candidate for candidate in candidates if _word(candidate.get("finishReason")) == "STOP")
    marked = [found for candidate in finished for part in _parts(candidate) if (found := _image(part)) is not None]
    return results or marked[-1:]


def _no_image(document: Json) -> Moderated | Refused:
    feedback = _object(document.get("promptFeedback")) or {}
    if block_reason := _word(feedback.get("blockReason")):
        return Moderated(
            with_words(f"the prompt was blocked: {block_reason}", words_of(feedback.get("blockReasonMessage")))
        )
    candidates = _objects(document.get("candidates"))
    reasons = [_word(candidate.get("finishReason")) for candidate in candidates]
    words = _words(candidates)
    for reason in reasons:
        if reason in MODERATED:
            return Moderated(with_words(f"the image was withheld: {reason}", words))
    reason = next((found for found in reasons if found), "no reason given")
    # The provider works, so its circuit breaker does not count this. A reason in words holds for a repetition, which
    # would be billed, too.
    message = with_words(f"Gemini returned no image: {reason}", words)
    return Refused("no_image", message, retryable=not words, fault_domain=FaultDomain.REQUEST)


def _words(candidates: Sequence[Json]) -> str:
    """What the model says about a missing image: the message of the end, else its text."""
    ends = (words_of(candidate.get("finishMessage")) for candidate in candidates)
    parts = (part for candidate in candidates for part in _parts(candidate))
    texts = (words_of(part.get("text")) for part in parts if not _is_thought(part))
    return next((found for found in ends if found), "") or " ".join(found for found in texts if found)


def _parts(candidate: Json) -> Sequence[Json]:
    content = _object(candidate.get("content")) or {}
    return _objects(content.get("parts"))


def _is_thought(part: Json) -> bool:
    return part.get("thought") is True


def _image(part: Json) -> bytes | None:
    """None: the part is not an image. Empty: an image that cannot be decoded."""
    inline = _object(part.get("inlineData"))
    if inline is None:
        return None
    data = inline.get("data")
    try:
        return base64.b64decode("".join(data.split()), validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return b""


def read_retirement(body: bytes, model: str) -> Retirement | None:
    """`modelStatus` of a response, where it announces a retirement."""
    status = _object((_object(_json(body)) or {}).get("modelStatus")) or {}
    at = _moment(status.get("retirementTime"))
    return Retirement(model, at, _word(status.get("modelStage")) or "UNKNOWN") if at else None


def read_error(status: int, body: bytes, retry_after: str | None, now: datetime) -> Refused:
    """The refusal of a response with another status. Google's error is an object, or a list of one."""
    error = _error(_json(body))
    details = _objects(error.get("details"))
    word = _word(error.get("status"))
    text = f"Gemini: {status} {word}".rstrip() + f": {words_of(error.get('message')) or f'HTTP {status}'}"
    meaning = meaning_of(ERRORS, status, {word, *(_word(detail.get("reason")) for detail in details)})
    return refused(meaning, text, _retry_after_s(retry_after, details, now))


def _error(document: object) -> Json:
    if isinstance(document, list):
        document = document[0] if document else None
    return _object((_object(document) or {}).get("error")) or {}


def _retry_after_s(header: str | None, details: Sequence[Json], now: datetime) -> float | None:
    """The longer of the header (seconds or a date) and of google.rpc.RetryInfo, whose delay looks like `1.5s`."""
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
    """The name of a reason or state, in capitals as Google writes them."""
    return one_line(value, 100).upper() if isinstance(value, str) else ""


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
