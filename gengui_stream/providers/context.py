"""The objects of the process that a provider uses."""

from dataclasses import dataclass

import aiohttp

from gengui_stream.media.object_store import Bucket
from gengui_stream.metrics import Metrics
from gengui_stream.redis_io.handle import SharedRedis
from gengui_stream.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """`opened_providers` opens and closes them."""

    settings: Settings
    redis: SharedRedis
    store: Bucket
    http: aiohttp.ClientSession
    metrics: Metrics
