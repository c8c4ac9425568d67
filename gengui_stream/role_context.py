"""What a role is handed when it starts."""

import asyncio
from dataclasses import dataclass

from gengui_stream.health.liveness import Health
from gengui_stream.metrics import Metrics
from gengui_stream.settings import Settings


@dataclass(frozen=True, slots=True)
class RoleContext:
    """A role runs until `stop` is set, then finishes what it has begun. It measures with `metrics` and calls
    `health.started()` once its servers have answered."""

    settings: Settings
    stop: asyncio.Event
    metrics: Metrics
    health: Health
