"""What RunPod's answers mean. Pure: whatever comes, it is read, or it is said that it cannot be.

TransientError means that nothing is known: the job may have been taken.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from gengui_stream.errors import TransientError
from gengui_stream.providers.interface import Blame, Dispatched, Refused

JOB_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
MESSAGE_MAX: Final = 500
WAIT_MAX_S: Final = 86_400.0

_GATEWAY: Final = frozenset({502, 504})
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class JobState(StrEnum):
    """RunPod's own states. UNKNOWN: a word that is not documented; the job is taken to be running."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `body`: its JSON; None when it is none."""

    status: int
    body: object
    retry_after_s: float | None = None

    @property
    def fields(self) -> Mapping[str, object]:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def said(self) -> str:
        """For operators."""
        words = (self.fields.get(name) for name in ("error", "message", "detail"))
        return _plain(next((word for word in words if isinstance(word, str)), ""))[:200] or "nothing that can be read"


@dataclass(frozen=True, slots=True)
class JobReport:
    """What /status says. While a job runs its `output` is progress; once it has completed it is the result."""

    state: JobState
    word: str
    output: object
    error: object
    was_started: bool


def run_outcome(answer: Answer, endpoint_id: str) -> Dispatched | Refused:
    """What became of a call of /run. Raises TransientError when the job may have been taken all the same."""
    if answer.status == 200:
        job_id = answer.fields.get("id")
        if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
            return Dispatched(job_id, endpoint_id)
        raise TransientError("RunPod answered 200 without the id of a job: it may have taken one")
    if answer.status >= 500:
        return _broken(answer)
    return _refused(answer)


def _broken(answer: Answer) -> Refused:
    """RunPod's own error, in its own words, says that the call was not carried out. A gateway that gave up, or a page
    for people, says nothing about what went on behind it."""
    if answer.status in _GATEWAY or not answer.fields:
        raise TransientError(f"HTTP {answer.status} from a gateway before RunPod: it may have taken the job")
    return Refused("provider_error", f"RunPod is out of order (HTTP {answer.status})", retryable=True)


def _refused(answer: Answer) -> Refused:
    status = answer.status
    if status == 429:
        return Refused("rate_limited", "RunPod takes no more jobs just now", True, Blame.CAPACITY, answer.retry_after_s)
    if status == 408:
        return Refused("provider_error", "RunPod did not get the whole request (HTTP 408)", retryable=True)
    if status in {401, 402, 403, 404} or status < 400:
        message = f"RunPod does not let us in (HTTP {status})"
        return Refused("provider_misconfigured", message, True, Blame.CONFIGURATION)
    return Refused("invalid_request", f"RunPod refused the request (HTTP {status})", False, Blame.REQUEST)


def report_of(answer: Answer) -> JobReport:
    """Raises TransientError for a body that names no state."""
    word = answer.fields.get("status")
    if answer.status != 200 or not isinstance(word, str):
        raise TransientError(f"RunPod answered HTTP {answer.status} about a job: {answer.said}")
    fields = answer.fields
    started = fields.get("delayTime") is not None or fields.get("workerId") is not None
    return JobReport(_state(word), word[:50], fields.get("output"), fields.get("error"), started)


def _state(word: str) -> JobState:
    if word == "RUNNING":
        return JobState.IN_PROGRESS
    return JobState(word) if word in JobState.__members__ else JobState.UNKNOWN


def failure_message(error: object) -> str:
    """For the owner of the generation: what the worker raised, without where and how. RunPod hands on JSON inside a
    string when the handler raised, a plain string when it said so itself."""
    document = _decoded(error)
    if not isinstance(document, dict):
        return _sentence(document, {})
    return _sentence(document.get("error_message") or document.get("error"), document)


def _decoded(error: object) -> object:
    if not isinstance(error, str) or not error.lstrip().startswith("{"):
        return error
    try:
        document: object = json.loads(error)
    except (ValueError, RecursionError):
        return "the worker failed"
    return document


def inline_image(output: object) -> bytes | None:
    """The image that a job without an object key returns; the first, when there is a list of them."""
    match output:
        case [first, *_]:
            return inline_image(first)
        case {"image_base64": str() as text}:
            return _decoded_image(text)
        case _:
            return None


def _decoded_image(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.partition(";base64,")[2] or text, validate=True) or None
    except ValueError:
        return None


def _sentence(said: object, document: Mapping[str, object]) -> str:
    text = said.partition("Traceback (most recent call last)")[0] if isinstance(said, str) else ""
    for name in ("hostname", "worker_id"):
        secret = document.get(name)
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "…")
    return _plain(text)[:MESSAGE_MAX] or "the worker gave no reason"


def _plain(text: str) -> str:
    """Lone surrogates and control characters have no place in an event."""
    return _UNPRINTABLE.sub(" ", text.encode(errors="replace").decode()).strip()


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds, or an HTTP date; None for what is neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), WAIT_MAX_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (aware - now).total_seconds()), WAIT_MAX_S)
