"""Liveness, readiness and metrics of the API."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.auth import principal_of
from api.context import SETTINGS, STATE
from api.http.responses import json_response
from api.readiness import ESSENTIAL, OK, check_all


async def livez(request: web.Request) -> web.Response:
    """Answering is itself a tick of the event loop."""
    health = request.app[STATE].health
    health.tick()
    return json_response(health.liveness().document())


async def readyz(request: web.Request) -> web.Response:
    """200 when every server behind the API answers, else 503; the body names the result of each check. `degraded`: the
    API answers, and a part of the system behind it does not do its work."""
    state = request.app[STATE]
    if state.context is None:
        return json_response({"status": "not_ready", "checks": {"start": state.waiting_for}}, 503)
    results = await check_all(state.context)
    faults = {name for name, result in results.items() if result != OK}
    if faults & ESSENTIAL or state.context.fanout.closing.is_set():
        return json_response({"status": "not_ready", "checks": results}, 503)
    return json_response({"status": "degraded" if faults else "ready", "checks": results})


async def metrics(request: web.Request) -> web.Response:
    if request.app[SETTINGS].api_metrics == "key":
        await principal_of(request, "ops")
    body = generate_latest(request.app[STATE].metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
