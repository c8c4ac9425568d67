"""Liveness, readiness and metrics of the API."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.context import STATE, ApiContext
from api.http.responses import json_response
from gengui_stream.errors import GenGuiError
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.redis_io.clients import transient_errors as redis_errors

CHECK_TIMEOUT_S: Final = 2.0


async def livez(request: web.Request) -> web.Response:
    """Answering is itself a tick of the event loop."""
    health = request.app[STATE].health
    health.tick()
    return json_response(health.liveness().document())


async def readyz(request: web.Request) -> web.Response:
    """200 when every server behind the API answers, else 503; the body names the result of each."""
    state = request.app[STATE]
    if state.context is None:
        return json_response({"status": "not_ready", "checks": {"start": state.waiting_for}}, 503)
    context = state.context
    checks = {
        "postgres": _postgres(context),
        "redis": _redis(context),
        "objects": _objects(context),
        "log": _log(context),
    }
    results = dict(zip(checks, await asyncio.gather(*map(_result, checks.values())), strict=True))
    ready = all(result == "ok" for result in results.values()) and not context.fanout.closing.is_set()
    return json_response({"status": "ready" if ready else "not_ready", "checks": results}, 200 if ready else 503)


async def _result(check: Coroutine[None, None, None]) -> str:
    """Abandons a check that neither ends in time nor reacts to its cancellation: asyncpg, for one, waits for a silent
    PostgreSQL to confirm a cancel request."""
    checking = asyncio.ensure_future(check)
    done, _ = await asyncio.wait({checking}, timeout=CHECK_TIMEOUT_S)
    if not done:
        checking.cancel()
        checking.add_done_callback(_forget)
        return f"no answer within {CHECK_TIMEOUT_S} s"
    error = checking.exception()
    if error is None:
        return "ok"
    if isinstance(error, GenGuiError):
        return type(error).__name__
    raise error


def _forget(checking: "asyncio.Future[None]") -> None:
    if not checking.cancelled():
        checking.exception()


async def _postgres(context: ApiContext) -> None:
    with transient_errors():
        await context.pool.fetchval("SELECT 1")


async def _redis(context: ApiContext) -> None:
    async with opened_redis(context.settings) as redis:
        with redis_errors():
            await redis.ping()


async def _objects(context: ApiContext) -> None:
    await context.store.check()


async def _log(context: ApiContext) -> None:
    await check_topic(context.settings)


async def metrics(request: web.Request) -> web.Response:
    body = generate_latest(request.app[STATE].metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
