"""The heartbeat timeouts of the providers that have one of their own, as the settings say.

The projector needs them without the providers: it makes each attempt's `reconcile` job due when its first silence ends.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from gengui_stream.settings import Settings

GEMINI_GRACE_S: Final = 5.0
"""Beyond the timeout that Gemini is asked to keep to."""


def gemini_call_s(settings: Settings) -> float:
    """The longest time that a call, which does all the work, may take."""
    return settings.gemini_timeout_s + GEMINI_GRACE_S


def heartbeat_timeouts(settings: Settings) -> Mapping[str, timedelta]:
    """By provider; the others keep to ATTEMPT_SILENCE_S."""
    return {
        "gemini": timedelta(seconds=gemini_call_s(settings)),
        "runpod": timedelta(seconds=settings.runpod_silence_s),
    }
