"""RunPod's responses as outcomes. Pure: every response has an outcome, or raises TransientError.

TransientError means that the outcome is unknown: RunPod may have accepted the job.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from gengui_stream.errors import TransientError
from gengui_stream.providers.error_table import Meaning, meaning_of, refused
from gengui_stream.providers.interface import Dispatched, Refused, RunTimes
from gengui_stream.providers.runpod.errors import ERRORS, OWN
from gengui_stream.providers.words import WORDS_MAX, one_line, with_words, without, words_of

JOB_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
WAIT_MAX_S: Final = 86_400.0
DURATION_MAX_MS: Final = 7 * 86_400_000
"""RunPod's longest time to live."""

TRACEBACK: Final = "Traceback (most recent call last)"

_SENTENCES: Final[Mapping[Meaning, str]] = {
    Meaning.REFUSAL: "RunPod refused the request",
    Meaning.PERMANENT: "RunPod rejects the API key, the account or the endpoint",
    Meaning.LIMITED: "RunPod's rate limit is exceeded",
    Meaning.TRANSIENT: "RunPod could not carry out the call",
    Meaning.UNKNOWN: "RunPod, or a gateway before it, failed, and the job may have been accepted",
}


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
    def words(self) -> str:
        """The error message; empty when there is none."""
        return words_of(self.fields)


@dataclass(frozen=True, slots=True)
class JobReport:
    """The body of /status. `raw_state`: RunPod's own word. `output` of a running job is its progress, and of a
    completed one its result. `delay`: how long it was queued; `execution`: how long it ran; None where RunPod does not
    say."""

    state: JobState
    raw_state: str
    output: object
    error: object
    was_started: bool
    delay: timedelta | None = None
    execution: timedelta | None = None

    def times(self, submitted_at: datetime, now: datetime) -> RunTimes | None:
        """By our clock, as RunPod gives durations alone."""
        if self.delay is None:
            return None
        started_at = min(submitted_at + self.delay, now)
        ended_at = None if self.execution is None else min(started_at + self.execution, now)
        return RunTimes(started_at, ended_at)


def run_outcome(response: Response, endpoint_id: str) -> Dispatched | Refused:
    """The outcome of a call of /run. Raises TransientError when RunPod may have accepted the job."""
    if response.status == 200:
        job_id = response.fields.get("id")
        if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
            return Dispatched(job_id, endpoint_id)
        raise TransientError("RunPod responded with 200 but without a job id: it may have accepted a job")
    return _refused(response)


def _refused(response: Response) -> Refused:
    meaning = meaning_of(ERRORS, response.status, {OWN} if response.fields else ())
    sentence = f"{_SENTENCES[meaning]} (HTTP {response.status})"
    return refused(meaning, with_words(sentence, response.words), response.retry_after_s)


def report_of(response: Response) -> JobReport:
    """Raises TransientError for a body without a state."""
    raw_state = response.fields.get("status")
    if response.status != 200 or not isinstance(raw_state, str):
        raise TransientError(with_words(f"RunPod responded with HTTP {response.status} about a job", response.words))
    fields = response.fields
    started = fields.get("delayTime") is not None or fields.get("workerId") is not None
    return JobReport(
        _state(raw_state),
        raw_state[:50],
        fields.get("output"),
        fields.get("error"),
        started,
        delay=_duration(fields.get("delayTime")),
        execution=_duration(fields.get("executionTime")),
    )


def _duration(value: object) -> timedelta | None:
    """Milliseconds; a number that no job can have is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= DURATION_MAX_MS:
        return None
    return timedelta(milliseconds=value)


def _state(raw_state: str) -> JobState:
    if raw_state == "RUNNING":
        return JobState.IN_PROGRESS
    return JobState(raw_state) if raw_state in JobState.__members__ else JobState.UNKNOWN


def failure_message(error: object) -> str:
    """The worker's error for the owner of the generation, without the traceback. RunPod passes JSON in a string when
    the handler raised, and what the handler returned as an error: a string or an object."""
    document = _decoded(error)
    text = words_of(document, WORDS_MAX + len(TRACEBACK)).partition(TRACEBACK)[0].strip()[:WORDS_MAX]
    fields = document if isinstance(document, dict) else {}
    names = (fields.get(name) for name in ("hostname", "worker_id"))
    return without(text, (one_line(name) for name in names if isinstance(name, str))) or "the worker gave no reason"


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
    match _first(output):
        case {"error": error} | {"error_message": error} if error:
            return failure_message(error)
        case _:
            return None


def inline_image(output: object) -> bytes | None:
    """The image that a job without an object key returns; the first of a list."""
    match _first(output):
        case {"image_base64": str() as text}:
            return _decoded_image(text)
        case _:
            return None


def _first(output: object) -> object:
    """Of a list, as a handler that yields its results makes it."""
    return output[0] if isinstance(output, list) and output else output


def _decoded_image(text: str) -> bytes | None:
    try:
        encoded = text.partition(";base64,")[2] or text
        return base64.b64decode("".join(encoded.split()), validate=True) or None
    except ValueError:
        return None


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
