"""What handlers use, opened once a process and found through one typed key of the application."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.hub import Hub
from api.problems import Refusal
from gengui_stream.accounts.api_keys import Principal, Role, authenticate, hash_key
from gengui_stream.health.liveness import Health
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.flags.provider_flags import Flags
from gengui_stream.providers.interface import Providers
from gengui_stream.queries.waiting import WaitingRoom
from gengui_stream.redis_io.hints import HintPublisher
from gengui_stream.settings import Settings

KEY_CACHE_S: Final = 5.0
"""A revoked key is good for so much longer."""

KEYS_CACHED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Services:
    """Everything open."""

    settings: Settings
    pool: Pool
    log: EventLog
    store: ObjectStore
    hub: Hub
    hints: HintPublisher
    providers: Providers
    flags: Flags
    waiting_room: WaitingRoom
    keys: "KeyRing"


class KeyRing:
    """Who a key belongs to, remembered for a few seconds by the key's hash."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def principal(self, key: str) -> Principal | None:
        now, digest = time.monotonic(), hash_key(key)
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        found = await authenticate(self._pool, key)
        if found is not None:
            self._known[digest] = (now + KEY_CACHE_S, found)
            self._known.move_to_end(digest)
            if len(self._known) > KEYS_CACHED:
                self._known.popitem(last=False)
        return found


def services(request: web.Request) -> Services:
    """Refuses with 503 while the servers behind the API are not reached yet."""
    found = request.app[HOLDER].services
    if found is None:
        raise Refusal(503, "starting", "the service is starting; try again shortly", headers={"Retry-After": "1"})
    return found


@dataclass(slots=True)
class Holder:
    """Filled when everything is open. `waiting_for` says meanwhile what is not."""

    health: Health
    metrics: Metrics
    services: Services | None = None
    waiting_for: str = "starting"


HOLDER: Final = web.AppKey("holder", Holder)


async def principal(request: web.Request, *roles: Role) -> Principal:
    """Who asks. Refuses with 401 without a good key, and 403 when the key is of another role."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    ring = services(request).keys
    found = await ring.principal(key.strip()) if scheme.lower() == "bearer" and key.isascii() else None
    if found is None:
        detail = "send a valid API key as `Authorization: Bearer gg_...`"
        raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    if roles and found.role not in roles:
        raise Refusal(403, "forbidden", f"this needs a key of role {' or '.join(roles)}; yours is {found.role}")
    return found


def base_url(request: web.Request) -> str:
    public = services(request).settings.public_url
    return public.rstrip("/") if public else str(request.url.origin())
