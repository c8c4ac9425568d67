"""RunPod's responses as outcomes. Pure: every response has an outcome, or raises TransientError.

TransientError means that the outcome is unknown: RunPod may have accepted the job.
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
from gengui_stream.providers.interface import Dispatched, FaultDomain, Refused

JOB_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
MESSAGE_MAX: Final = 500
WAIT_MAX_S: Final = 86_400.0

_GATEWAY: Final = frozenset({502, 504})
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class JobState(StrEnum):
    """RunPod's own states. UNKNOWN: an undocumented one; the job counts as running."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. `body`: its JSON; None when it has none."""

    status: int
    body: object
    retry_after_s: float | None = None

    @property
    def fields(self) -> Mapping[str, object]:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def detail(self) -> str:
        """The error message, for operators."""
        words = (self.fields.get(name) for name in ("error", "message", "detail"))
        return _plain(next((word for word in words if isinstance(word, str)), ""))[:200] or "no readable error message"


@dataclass(frozen=True, slots=True)
class JobReport:
    """The body of /status. `raw_state`: RunPod's own word. `output` of a running job is its progress, and of a
    completed one its result."""

    state: JobState
    raw_state: str
    output: object
    error: object
    was_started: bool


def run_outcome(response: Response, endpoint_id: str) -> Dispatched | Refused:
    """The outcome of a call of /run. Raises TransientError when RunPod may have accepted the job."""
    if response.status == 200:
        job_id = response.fields.get("id")
        if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
            return Dispatched(job_id, endpoint_id)
        raise TransientError("RunPod responded with 200 but without a job id: it may have accepted a job")
    if response.status >= 500:
        return _broken(response)
    return _refused(response)


def _broken(response: Response) -> Refused:
    """RunPod's own error means that the call was not carried out. A gateway's error, or an HTML page, leaves that
    unknown."""
    if response.status in _GATEWAY or not response.fields:
        raise TransientError(f"HTTP {response.status} from a gateway before RunPod: RunPod may have accepted the job")
    return Refused("provider_error", f"RunPod has an internal error (HTTP {response.status})", retryable=True)


def _refused(response: Response) -> Refused:
    status = response.status
    if status == 429:
        return Refused(
            "rate_limited", "RunPod's rate limit is exceeded", True, FaultDomain.CAPACITY, response.retry_after_s
        )
    if status == 408:
        return Refused("provider_error", "RunPod did not receive the complete request (HTTP 408)", retryable=True)
    if status in {401, 402, 403, 404} or status < 400:
        message = f"RunPod rejects the API key, the account or the endpoint (HTTP {status})"
        return Refused("provider_misconfigured", message, True, FaultDomain.CONFIGURATION)
    message = f"RunPod refused the request (HTTP {status}): {response.detail}"
    return Refused("invalid_request", message, False, FaultDomain.REQUEST)


def report_of(response: Response) -> JobReport:
    """Raises TransientError for a body without a state."""
    raw_state = response.fields.get("status")
    if response.status != 200 or not isinstance(raw_state, str):
        raise TransientError(f"RunPod responded with HTTP {response.status} about a job: {response.detail}")
    fields = response.fields
    started = fields.get("delayTime") is not None or fields.get("workerId") is not None
    return JobReport(_state(raw_state), raw_state[:50], fields.get("output"), fields.get("error"), started)


def _state(raw_state: str) -> JobState:
    if raw_state == "RUNNING":
        return JobState.IN_PROGRESS
    return JobState(raw_state) if raw_state in JobState.__members__ else JobState.UNKNOWN


def failure_message(error: object) -> str:
    """The worker's error for the owner of the generation, without the traceback. RunPod passes JSON in a string when
    the handler raised, and a plain string when the handler returned an error."""
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


def failure_of_output(output: object) -> str | None:
    """What a worker says in a result without an image: RunPod completes a job whose handler returns an error."""
    match output:
        case [first, *_]:
            return failure_of_output(first)
        case {"error": error} | {"error_message": error} if error:
            return failure_message(error)
        case _:
            return None


def inline_image(output: object) -> bytes | None:
    """The image that a job without an object key returns; the first of a list."""
    match output:
        case [first, *_]:
            return inline_image(first)
        case {"image_base64": str() as text}:
            return _decoded_image(text)
        case _:
            return None


def _decoded_image(text: str) -> bytes | None:
    try:
        encoded = text.partition(";base64,")[2] or text
        return base64.b64decode("".join(encoded.split()), validate=True) or None
    except ValueError:
        return None


def _sentence(message: object, document: Mapping[str, object]) -> str:
    text = message.partition("Traceback (most recent call last)")[0] if isinstance(message, str) else ""
    for name in ("hostname", "worker_id"):
        secret = document.get(name)
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "…")
    return _plain(text)[:MESSAGE_MAX] or "the worker gave no reason"


def _plain(text: str) -> str:
    """Removes lone surrogates and control characters, which an event must not contain."""
    return _UNPRINTABLE.sub(" ", text.encode(errors="replace").decode()).strip()


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds; the header is a number or an HTTP date. None for anything else."""
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
