"""The objects that a role starts with."""

import asyncio
from dataclasses import dataclass

from gengui_stream.health.liveness import Health
from gengui_stream.metrics import Metrics
from gengui_stream.settings import Settings


@dataclass(frozen=True, slots=True)
class RoleContext:
    """A role runs until `stop` is set, then finishes its work. It measures with `metrics` and calls
    `health.started()` once its servers are available."""

    settings: Settings
    stop: asyncio.Event
    metrics: Metrics
    health: Health
