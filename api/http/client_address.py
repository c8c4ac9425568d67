"""The address of a client, for limits and the audit trail: of the connection, or behind PROXIES_TRUSTED reverse
proxies, of what the first of them wrote into X-Forwarded-For."""

import re
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web
from aiohttp_remotes import XForwardedRelaxed
from multidict import CIMultiDict

from api.http.parsing import CORRELATION_ID
from api.http.problems import Refusal
from gengui_stream.accounts.audit_events import Actor

PROXIES: Final = web.AppKey("proxies", int)

UNKNOWN: Final = "unknown"
"""Of a Unix socket, for example."""

_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]+)\](?::\d{1,5})?|(?P<v4>[0-9.]+):\d{1,5}")


def client_address(request: web.Request) -> str:
    """Raises a 400 refusal if a trusted proxy wrote something that is no address."""
    proxies = request.app[PROXIES]
    return _forwarded(request, proxies) or _plain(request.remote or UNKNOWN)


def actor_of(request: web.Request, user_id: UUID | None = None) -> Actor:
    """For the audit trail. `user_id`: None while it is not known who sends the request."""
    return Actor(client_address(request), request[CORRELATION_ID], user_id)


def _forwarded(request: web.Request, proxies: int) -> str | None:
    """The entry that the first trusted proxy appended; those before it come from the client, and may be anything. None
    if there are fewer entries than proxies: the request came another way."""
    entries = [entry.strip() for line in request.headers.getall(hdrs.X_FORWARDED_FOR, []) for entry in line.split(",")]
    if not proxies or len(entries) < proxies:
        return None
    written = CIMultiDict({hdrs.X_FORWARDED_FOR: _without_port(entries[-proxies])})
    try:
        return _plain(str(XForwardedRelaxed().get_forwarded_for(written)[0]))
    except web.HTTPBadRequest:
        detail = f"X-Forwarded-For: entry {proxies} from the end is no IP address; PROXIES_TRUSTED is {proxies}"
        raise Refusal(400, "invalid_forwarded_for", detail) from None


def _without_port(entry: str) -> str:
    found = _WITH_PORT.fullmatch(entry)
    return (found["v6"] or found["v4"]) if found else entry


def _plain(address: str) -> str:
    """Without the zone of a link-local address; an IPv4 address that came over IPv6 as such."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped if found.version == 6 else None
    return str(mapped or found)
