"""The context of handlers, opened once a process and stored under a typed key of the application."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.http.problems import Refusal
from api.notification_fanout import NotificationFanout
from api.standstill import StandstillDetector
from gengui_stream.accounts.key_cache import KeyCache
from gengui_stream.health.liveness import Health
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.flags.provider_flags import Flags
from gengui_stream.providers.interface import Providers
from gengui_stream.providers.local.claims import JobClaims
from gengui_stream.providers.local.leases import JobLeases
from gengui_stream.providers.local.rejected_entries import Rejections
from gengui_stream.queries.queue_position import QueueSnapshotCache
from gengui_stream.redis_io.health import RedisHealth
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.settings import Settings


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The open servers and caches that handlers use."""

    settings: Settings
    pool: Pool
    log: EventLog
    store: ObjectStore
    fanout: NotificationFanout
    notifications: NotificationPublisher
    providers: Providers
    flags: Flags
    queue_snapshots: QueueSnapshotCache
    keys: KeyCache
    leases: JobLeases
    claims: JobClaims
    rejections: Rejections
    redis: RedisHealth
    standstill: StandstillDetector


@dataclass(slots=True)
class ApiState:
    """`context` is None until every server has answered; until then `waiting_for` names the unavailable one."""

    health: Health
    metrics: Metrics
    context: ApiContext | None = None
    waiting_for: str = "starting"


STATE: Final = web.AppKey("state", ApiState)
SETTINGS: Final = web.AppKey("settings", Settings)


def context_of(request: web.Request) -> ApiContext:
    """Raises a 503 refusal until the servers behind the API have answered."""
    found = request.app[STATE].context
    if found is None:
        raise Refusal(503, "starting", "the service is starting; try again shortly", headers={"Retry-After": "1"})
    return found


def base_url(request: web.Request) -> str:
    """The URL of the API for its clients, without a trailing slash."""
    public = context_of(request).settings.public_url
    return public.rstrip("/") if public else str(request.url.origin())
