"""Limits of requests: by user once authenticated, by client address before."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Final

from aiohttp import web

from api.context import STATE, context_of
from api.http.client_address import client_address
from api.http.problems import Refusal
from gengui_stream.accounts.principals import Principal
from gengui_stream.limits.headers import rate_limit_headers
from gengui_stream.limits.policies import Policy, Standing, network_of
from schemas.operations.operation import AddressLimit, Scope
from schemas.operations.table import OPERATIONS

STANDINGS: Final = web.RequestKey("standings", list[Standing])
"""What the headers of the response say."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def count_of_user(request: web.Request, principal: Principal, scope: Scope | None = None) -> None:
    """Raises a 429 refusal beyond REQUESTS_PER_MINUTE. Workers' requests are not counted: one that is refused would
    lose its lease, and the generation its attempt."""
    if scope == "worker" and principal.allows("worker"):
        return
    await _count(request, context_of(request).policies.requests, str(principal.user_id))


async def count_unauthenticated(request: web.Request) -> None:
    """Raises a 429 refusal for an address with too many requests without a valid key or session. Those with one pass:
    no client locks out the others behind its address. Not until the servers have answered: nothing is served then."""
    if request.app[STATE].context is None:
        return
    await _count_address(request, context_of(request).policies.unauthenticated)


@web.middleware
async def limited_by_address(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts the requests of operations that are limited by client address, before they do anything."""
    resource = request.match_info.route.resource
    limit = _address_limits().get((request.method, resource.canonical)) if resource is not None else None
    if limit is not None:
        await _count_address(request, policy_of(request, limit))
    return await handler(request)


def policy_of(request: web.Request, limit: AddressLimit) -> Policy:
    policies = context_of(request).policies
    found: Mapping[AddressLimit, Policy] = {
        "log_in": policies.log_in,
        "sign_up": policies.sign_up,
        "password_reset": policies.password_reset,
        "verification": policies.verification,
    }
    return found[limit]


@cache
def _address_limits() -> Mapping[tuple[str, str], AddressLimit]:
    return {(one.method.upper(), one.path): one.address_limit for one in OPERATIONS if one.address_limit is not None}


async def _count_address(request: web.Request, policy: Policy) -> None:
    await _count(request, policy, network_of(client_address(request)))


async def _count(request: web.Request, policy: Policy, key: str) -> None:
    """Once a request, however often it is authenticated."""
    if any(one.policy == policy for one in request.get(STANDINGS, [])):
        return
    standing = await context_of(request).limiter.count(policy, key)
    if standing is None:
        return
    add_standing(request, standing)
    if standing.limited:
        raise rate_limited(standing)


def add_standing(request: web.Request, standing: Standing) -> None:
    request.setdefault(STANDINGS, []).append(standing)


def rate_limited(standing: Standing) -> Refusal:
    policy, seconds = standing.policy, standing.retry_after_s
    detail = f"{policy.name}: at most {policy.limit} in {policy.window_s} s; try again in {seconds} s"
    return Refusal(429, "rate_limited", detail, headers={"Retry-After": str(seconds)})


def add_rate_limit_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(rate_limit_headers(request.get(STANDINGS, [])))
