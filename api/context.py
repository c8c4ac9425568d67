"""The context of handlers, opened once a process and stored under a typed key of the application."""

import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.http.problems import Refusal
from api.limits.admission_queue import AdmissionQueue
from api.limits.stream_limit import StreamLimit
from api.limits.wait_limit import WaitLimit
from api.log_ends import LogEndsCache
from api.notification_fanout import NotificationFanout
from api.pending_appends import PendingAppends
from api.standstill import StandstillDetector
from gengui_stream.accounts.keys.authenticator import KeyAuthenticator
from gengui_stream.accounts.passwords import PasswordHashes
from gengui_stream.accounts.preferences import PreferencesCache
from gengui_stream.health.liveness import Health
from gengui_stream.limits.policies import Policies
from gengui_stream.limits.rate_limiter import RateLimiter
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.flags.provider_flags import Flags
from gengui_stream.providers.interface import Providers
from gengui_stream.providers.local.claims import JobClaims
from gengui_stream.providers.local.leases import JobLeases
from gengui_stream.providers.local.rejected_entries import Rejections
from gengui_stream.providers.local.uploads import Uploads
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
    keys: KeyAuthenticator
    passwords: PasswordHashes
    leases: JobLeases
    claims: JobClaims
    rejections: Rejections
    uploads: Uploads
    redis: RedisHealth
    standstill: StandstillDetector
    log_ends: LogEndsCache
    pending: PendingAppends
    waits: WaitLimit
    streams: StreamLimit
    metrics: Metrics
    limiter: RateLimiter
    admissions: AdmissionQueue
    policies: Policies
    preferences: PreferencesCache


@dataclass(slots=True)
class ApiState:
    """`context` is None until every server has answered; until then `waiting_for` names the unavailable one. `ending`:
    the process stops, so each response closes its connection."""

    health: Health
    metrics: Metrics
    context: ApiContext | None = None
    waiting_for: str = "starting"
    ending: bool = False


STATE: Final = web.AppKey("state", ApiState)
SETTINGS: Final = web.AppKey("settings", Settings)


VALID_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{0,6}))?")
DEFAULT_HOST: Final = "localhost"
"""HTTP/1.0 does without the header."""

PORT_MAX: Final = 65_535


def context_of(request: web.Request) -> ApiContext:
    """Raises a 503 refusal until the servers behind the API have answered."""
    found = request.app[STATE].context
    if found is None:
        raise Refusal(503, "starting", "the service is starting; try again shortly", headers={"Retry-After": "1"})
    return found


def check_host(request: web.Request) -> None:
    """Raises a 400 refusal for a Host header that is not a host, or one with a port out of range."""
    found = VALID_HOST.fullmatch(request.headers.get("Host", DEFAULT_HOST))
    if found is None or int(found["port"] or 0) > PORT_MAX:
        detail = f"the Host header must be a name or an address, and a port of at most {PORT_MAX} if any"
        raise Refusal(400, "invalid_host", detail)


def base_url(request: web.Request) -> str:
    """The URL of the API for its clients, without a trailing slash."""
    public = context_of(request).settings.public_url
    return public.rstrip("/") if public else f"{request.scheme}://{request.host}"
