"""When jobs are due, as the settings say."""

from datetime import timedelta

from gengui_stream.domain.generation.attempt_timeouts import AttemptTimeouts
from gengui_stream.domain.generation.jobs import JobTimings
from gengui_stream.providers.heartbeats import heartbeat_timeouts
from gengui_stream.settings import Settings


def default_timeouts(settings: Settings) -> AttemptTimeouts:
    """Of the providers without timeouts of their own."""
    heartbeat_timeout = timedelta(seconds=settings.attempt_silence_s)
    return AttemptTimeouts(
        heartbeat_timeout, timedelta(seconds=settings.generation_deadline_s), poll_interval=heartbeat_timeout
    )


def job_timings(settings: Settings) -> JobTimings:
    """When the projector makes them due."""
    grace = timedelta(seconds=settings.deletion_grace_s)
    return JobTimings(default_timeouts(settings), heartbeat_timeouts(settings), grace)
