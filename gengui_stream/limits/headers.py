"""The fields `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10: lists of structured fields
(RFC 9651), one item a policy. Pure."""

from collections.abc import Iterable, Sequence
from math import ceil

from gengui_stream.limits.policies import Standing


def policy_field(standings: Iterable[Standing]) -> str:
    """Such as `"requests";q=600;w=60`: the quota, and its window in seconds."""
    return ", ".join(f'"{one.policy.name}";q={one.policy.limit};w={one.policy.window_s}' for one in standings)


def state_field(standings: Iterable[Standing]) -> str:
    """Such as `"requests";r=599;t=1`: what remains, and the seconds until all of the quota is available again."""
    return ", ".join(f'"{one.policy.name}";r={one.remaining};t={ceil(one.reset_s)}' for one in standings)


def rate_limit_headers(standings: Sequence[Standing]) -> dict[str, str]:
    """Empty without any."""
    if not standings:
        return {}
    return {"RateLimit-Policy": policy_field(standings), "RateLimit": state_field(standings)}
