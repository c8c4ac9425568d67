"""The timings of jobs that tests use where these do not matter."""

from datetime import timedelta
from typing import Final

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts
from gengui_stream.domain.generation.jobs import JobTimings

TIMINGS: Final = JobTimings(AttemptTimeouts(timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=2)))
