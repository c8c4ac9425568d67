"""A job under a lease, for workers over HTTP: heartbeat, upload, report, release."""

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from aiohttp import web

from api.auth import principal_of
from api.context import ApiContext, context_of
from api.handlers.worker_reports import event_of, fields_of_job, outputs_of, stamp_of
from api.http.bodies import read_json
from api.http.json_sizes import largest_json
from api.http.parsing import Query, parse
from api.http.problems import Refusal, fault, invalid
from api.http.responses import json_response
from gengui_stream.domain.generation.standing import Standing, standing
from gengui_stream.domain.generation.state import Generation, Status
from gengui_stream.media.object_keys import leased_media_key, leased_prefix
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.projections import generation_states
from gengui_stream.providers.local.leases import (
    Held,
    JobUnknown,
    LeaseEnded,
    LeaseLost,
    LeaseOfAnotherKey,
    LeaseState,
)
from gengui_stream.providers.local.provider import LocalProvider
from gengui_stream.providers.local.uploads import Upload
from gengui_stream.stamps import new_stamp
from schemas.events import GenerationHeartbeatReceived
from schemas.fields import written_uuid
from schemas.worker_jobs import LEASE_DEFAULT_S, JobHeartbeat, JobRelease, JobReport, JobUpload, LeasedRequest

UPLOAD_VALID_S: Final = 300

Body = TypeVar("Body", bound=LeasedRequest)


@dataclass(frozen=True, slots=True)
class _Call(Generic[Body]):
    """`key`: the credential of the request; empty for operators, who may use the lease of any worker."""

    context: ApiContext
    body: Body
    generation_id: UUID
    key: str


class _Job(NamedTuple):
    """A job whose lease is held. `attempt`: the one that was leased."""

    state: Generation
    held: Held
    attempt: int

    @property
    def standing(self) -> Standing:
        return standing(self.state, self.attempt)


async def heartbeat(request: web.Request) -> web.Response:
    """Extends the lease first: the answer to a worker that goes on needs PostgreSQL, its lease does not."""
    call = await _begun(request, JobHeartbeat)
    match lease := await _lease(call):
        case Held() as held:
            job = await _job(call, held)
        case LeaseEnded():
            return json_response({"state": Standing.ENDED, "lease_expires_at": None})
        case LeaseLost(superseded=True):
            return json_response({"state": Standing.SUPERSEDED, "lease_expires_at": None})
        case _:
            raise _refused(lease)
    if job.standing is Standing.RUNNING:
        stamp = new_stamp(f"worker/{held.worker}"[:100] if held.worker else "worker")
        beat = GenerationHeartbeatReceived(**stamp.envelope(call.generation_id), attempt=job.attempt)
        await call.context.log.append(beat)
    return json_response({"state": job.standing, "lease_expires_at": held.expires_at})


async def upload(request: web.Request) -> web.Response:
    call = await _begun(request, JobUpload)
    context, body, generation_id = call.context, call.body, call.generation_id
    job = await _job(call, _only_held(await _lease(call)))
    limit = context.settings.thumbnail_max_bytes
    if body.bytes > limit:
        raise invalid([fault("bytes", f"{body.bytes}; the limit is {limit}")])
    key = leased_media_key(job.state.owner_id, generation_id, body.lease, body.mime_type, body.output_id)
    await context.uploads.add(Upload(generation_id, key))
    signed = context.store.presigned_upload(key, body.mime_type, body.bytes, UPLOAD_VALID_S)
    return json_response(
        {
            "method": "PUT",
            "url": signed.url,
            "headers": {"Content-Type": body.mime_type, "Content-Length": str(body.bytes)},
            "object_key": key,
            "expires_at": signed.expires_at,
        }
    )


async def report(request: web.Request) -> web.Response:
    call = await _begun(request, JobReport)
    context, body, generation_id = call.context, call.body, call.generation_id
    lease = await _lease(call)
    if isinstance(lease, LeaseEnded) and lease.event_type == body.event.type:
        return json_response({"state": Standing.ENDED, "lease_expires_at": None, "position": None})
    job = await _job(call, _only_held(lease))
    outputs = await outputs_of(body.event, context.store, leased_prefix(job.state.owner_id, generation_id, body.lease))
    stamp = stamp_of(body.event, body.lease, job.held.worker)
    fact = event_of(body.event, outputs, {**stamp.envelope(generation_id), "attempt": job.attempt})
    position = await context.log.append(fact)
    ending = fields_of_job(fact)
    if ending is not None:
        await context.leases.finish(generation_id, body.lease, fact.type, ending)
    expires_at = job.held.expires_at if ending is None else None
    state = job.standing if ending is None else Standing.ENDED
    return json_response({"state": state, "lease_expires_at": expires_at, "position": str(position)})


async def release(request: web.Request) -> web.Response:
    call = await _begun(request, JobRelease)
    if not await call.context.leases.release(call.generation_id, call.body.lease, call.key):
        _only_held(await _lease(call))
    return web.Response(status=204)


async def _begun(request: web.Request, model: type[Body]) -> _Call[Body]:
    principal = await principal_of(request, "worker")
    Query(request).check()
    body = parse(model, await read_json(request, largest_json(model)))
    key = "" if principal.allows("ops") else principal.credential
    return _Call(context_of(request), body, _id_of(request), key)


def _id_of(request: web.Request) -> UUID:
    try:
        return written_uuid(request.match_info["id"])
    except ValueError:
        raise _unknown_job() from None


async def _lease(call: _Call[Body]) -> LeaseState:
    """Restores a lease that Redis lost with its data: a worker goes on with what the log says is running."""
    leases, lease = call.context.leases, call.body.lease
    found = await leases.hold(call.generation_id, lease, call.key)
    if not isinstance(found, JobUnknown):
        return found
    state = await _state(call.context, call.generation_id)
    if state is None or state.provider != LocalProvider.name or state.status is not Status.PROCESSING:
        raise _unknown_job()
    return await leases.restore(call.generation_id, lease, call.key, state.attempt, LEASE_DEFAULT_S)


def _only_held(lease: LeaseState) -> Held:
    if not isinstance(lease, Held):
        raise _refused(lease)
    return lease


def _refused(lease: LeaseState) -> Refusal:
    if isinstance(lease, LeaseEnded):
        return Refusal(409, "job_ended", f"this lease ended with {lease.event_type}: nothing more can be reported")
    if isinstance(lease, LeaseOfAnotherKey):
        return Refusal(
            409, "lease_of_another_key", "this lease was claimed with another key; claim a job with this one"
        )
    detail = "the lease is lost: another worker has the job, or it is queued again; stop, and claim another job"
    return Refusal(409, "lease_lost", detail)


async def _job(call: _Call[Body], held: Held) -> _Job:
    state = await _state(call.context, call.generation_id)
    if state is None:  # the job was made from it: the projections are being rebuilt
        detail = "the projections have not applied the request of this job yet; try again"
        raise Refusal(503, "unavailable", detail, headers={"Retry-After": "1"})
    return _Job(state, held, held.attempt or state.attempt)


async def _state(context: ApiContext, generation_id: UUID) -> Generation | None:
    with transient_errors():
        return (await generation_states.load(context.pool, [generation_id])).get(generation_id)


def _unknown_job() -> Refusal:
    return Refusal(404, "unknown_job", "there is no such job")
