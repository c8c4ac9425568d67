"""The policies by which requests are limited, and where a client stands in one. Pure."""

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from typing import Final

from gengui_stream.settings import Settings

IPV6_PREFIX: Final = 64
"""The smallest network that a provider assigns: its owner may use any address of it."""

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `limit` in `window_s` seconds; 0: no limit."""

    name: str
    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a policy has left for a client. `reset_s`: until all of it is available again; `retry_s`: until one request
    is, 0 if one is now."""

    policy: Policy
    limited: bool
    remaining: int
    reset_s: float
    retry_s: float = 0.0

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, so that a request after them is not refused."""
        return max(1, ceil(self.retry_s))


@dataclass(frozen=True, slots=True)
class Policies:
    """`requests`: by user; the others by client address."""

    requests: Policy
    unauthenticated: Policy
    log_in: Policy
    sign_up: Policy
    password_reset: Policy
    verification: Policy


def policies_of(settings: Settings) -> Policies:
    return Policies(
        requests=Policy("requests", settings.requests_per_minute, MINUTE_S),
        unauthenticated=Policy("unauthenticated", settings.rate_limit_unauthenticated, MINUTE_S),
        log_in=Policy("log_in", settings.rate_limit_log_in, 15 * MINUTE_S),
        sign_up=Policy("sign_up", settings.rate_limit_sign_up, HOUR_S),
        password_reset=Policy("password_reset", settings.rate_limit_password_reset, HOUR_S),
        verification=Policy("verification", settings.rate_limit_verification, HOUR_S),
    )


def network_of(address: str) -> str:
    """By which a client address is counted: an IPv4 address itself, the /64 of an IPv6 address, other texts as they
    are."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), IPV6_PREFIX), strict=False))
