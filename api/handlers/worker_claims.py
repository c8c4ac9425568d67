"""`POST /v1/worker/jobs/claim`: a worker over HTTP takes the oldest queued job, or waits for one."""

import asyncio

import structlog
from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, base_url, context_of
from api.http.bodies import read_json
from api.http.json_sizes import largest_json
from api.http.parsing import WAITED, Query, parse
from api.http.responses import json_response
from gengui_stream.domain.generation.standing import Standing, standing
from gengui_stream.domain.generation.state import Generation
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.providers.local import entries
from gengui_stream.providers.local.entries import InvalidMessage, QueuedJob
from gengui_stream.providers.local.leases import LeasedEntry
from gengui_stream.providers.local.redis_keys import DELIVERIES_MAX
from gengui_stream.providers.local.rejected_entries import reject
from schemas.worker_jobs import ClaimJob

_log = structlog.get_logger(__name__)


async def claim(request: web.Request) -> web.Response:
    principal = await principal_of(request, "worker")
    context = context_of(request)
    Query(request).check()
    wanted = parse(ClaimJob, await read_json(request, largest_json(ClaimJob)))
    request[WAITED] = True
    loop = asyncio.get_running_loop()
    until = loop.time() + wanted.wait_s
    while (entry := await _next(context, wanted, principal.credential, until - loop.time())) is not None:
        if (document := await _accepted(request, context, entry, wanted)) is not None:
            return json_response(document)
    return web.Response(status=204)


async def _next(context: ApiContext, wanted: ClaimJob, key: str, wait_s: float) -> LeasedEntry | None:
    models = frozenset(wanted.models or ())
    wait_s, worker = max(0.0, wait_s), wanted.worker or ""
    return await context.claims.next(models, lease_s=wanted.lease_s, wait_s=wait_s, worker=worker, key=key)


async def _accepted(
    request: web.Request, context: ApiContext, entry: LeasedEntry, wanted: ClaimJob
) -> dict[str, object] | None:
    """The job for the worker; None for an entry that is none, or whose job is over. The lease is given back when
    that cannot be found out."""
    try:
        job = entries.parse(entry.fields, QueuedJob)
        if isinstance(job, InvalidMessage):
            await reject(context.rejections, entry, job, "invalid_job")
            return None
        state = await _state(context, job)
        if state is None or standing(state, job.attempt or state.attempt) is not Standing.RUNNING:
            await context.leases.finish(job.generation_id, entry.lease, "obsolete")
            return None
        if entry.deliveries > DELIVERIES_MAX:
            lost = InvalidMessage(f"{DELIVERIES_MAX} workers were lost over it", job.generation_id, state.attempt)
            await reject(context.rejections, entry, lost, "worker_lost")
            return None
    except BaseException:
        if entry.generation_id is not None:
            await asyncio.shield(context.leases.release(entry.generation_id, entry.lease))
        raise
    _log.info("job_claimed", generation_id=str(job.generation_id), attempt=state.attempt, worker=wanted.worker)
    return _document(request, job, state, entry, wanted.lease_s)


async def _state(context: ApiContext, job: QueuedJob) -> Generation | None:
    with transient_errors():
        return (await generation_states.load(context.pool, [job.generation_id])).get(job.generation_id)


def _document(
    request: web.Request, job: QueuedJob, state: Generation, entry: LeasedEntry, lease_s: float
) -> dict[str, object]:
    """`schemas.worker_jobs.ClaimedJob`."""
    here = f"{base_url(request)}/v1/worker/jobs/{job.generation_id}"
    return {
        "id": job.generation_id,
        "attempt": job.attempt or state.attempt,
        "lease": entry.lease,
        "lease_s": lease_s,
        "lease_expires_at": entry.expires_at,
        "model": job.model or state.model,
        "prompt": job.prompt,
        "seed": job.seed,
        "width": job.width,
        "height": job.height,
        "deadline": state.deadline,
        "traceparent": job.traceparent,
        "upload_max_bytes": context_of(request).settings.thumbnail_max_bytes,
        "urls": {name: f"{here}/{name}" for name in ("heartbeat", "upload", "report", "release")},
    }
