"""A server with RunPod's HTTP API of queue-based endpoints: /v2/{endpoint}/run, /status, /cancel, /health.

Its worker implements `schemas.runpod_worker`: it draws, and puts the image into the object store. Webhooks are sent to
the URL in /run.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import ClientSession, web
from pydantic import JsonValue, ValidationError

from gengui_stream.fakes.behaviours import Error
from gengui_stream.fakes.calls import Runs
from gengui_stream.fakes.rules import Request
from gengui_stream.fakes.runpod.jobs import Job, Jobs, RunBody
from gengui_stream.fakes.runpod.outside_workers import OutsideWorkers
from gengui_stream.fakes.runpod.rate_limit import RateLimit
from gengui_stream.fakes.runpod.script import CancelIgnored, Health, JobLife, Operation, RunpodBehaviour, RunpodScript
from gengui_stream.fakes.runpod.webhooks import Delivery, Webhooks
from gengui_stream.fakes.runpod.worker import work
from gengui_stream.fakes.scripts import parse_script
from gengui_stream.fakes.server import Exchange, FakeServer, json_response, read_json, retry_after, served
from gengui_stream.media.object_store import Bucket, open_object_store
from gengui_stream.settings import Settings

_NOT_FOUND = Error(status=404, message="not found")


class RunpodServer(FakeServer[RunpodBehaviour]):
    """`key`: the only valid API key; None: any. `store`: the worker's object store; None: it has none."""

    script: RunpodScript

    def __init__(
        self,
        script: RunpodScript,
        *,
        seed: int,
        key: str | None,
        runs: Runs | None,
        store: Bucket | None,
        session: ClientSession,
    ) -> None:
        super().__init__(script, seed, runs)
        self._key, self._store = key, store
        self._webhooks = Webhooks(session)
        self._rate_limit = RateLimit()
        self._outside = OutsideWorkers()
        self.jobs = Jobs(self._taken, self._worked, self._webhooks)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery attempt of a webhook."""
        return self._webhooks.deliveries

    def record(self) -> dict[str, object]:
        return {**super().record(), "deliveries": [dataclasses.asdict(delivery) for delivery in self.deliveries]}

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/v2/{endpoint}/run", self._run),
            web.get("/v2/{endpoint}/status/{job}", partial(self._of_job, "status")),
            web.post("/v2/{endpoint}/cancel/{job}", partial(self._of_job, "cancel")),
            web.get("/v2/{endpoint}/health", self._health),
            web.get("/v2/{endpoint}/job-take/{worker}", self._take),
            web.post("/v2/{endpoint}/job-done/{worker}/{job}", self._report),
            web.get("/v2/{endpoint}/job-stop/{worker}", self._stop),
        ]

    def read_script(self, text: bytes) -> RunpodScript:
        return parse_script(RunpodScript, text)

    def error(self, error: Error) -> web.Response:
        headers = retry_after(error)
        if error.body is not None:
            return web.Response(text=error.body, status=error.status, headers=headers)
        return json_response({"error": error.message}, error.status, headers)

    async def _run(self, http: web.Request) -> web.StreamResponse:
        body = await read_json(http)
        request = _run_request(body)
        usual = partial(self._begun, http, request, body)
        return await self.answer(Exchange[RunpodBehaviour](http=http, request=request, body=body, usual=usual))

    async def _of_job(self, operation: Operation, http: web.Request) -> web.StreamResponse:
        job_id = http.match_info["job"]
        job = self.jobs.get(http.match_info["endpoint"], job_id)
        about = _run_request({"input": job.sent.input}) if job else Request(operation=operation, generation="")
        request = dataclasses.replace(about, operation=operation, job=job_id)
        usual = partial(self._told if operation == "status" else self._canceled, http)
        return await self.answer(Exchange[RunpodBehaviour](http=http, request=request, body=None, usual=usual))

    async def _health(self, http: web.Request) -> web.StreamResponse:
        request = Request(operation="health", generation="")
        usual = partial(self._healthy, http)
        return await self.answer(Exchange[RunpodBehaviour](http=http, request=request, body=None, usual=usual))

    async def _begun(
        self, http: web.Request, request: Request, body: object, how: RunpodBehaviour | None
    ) -> web.Response:
        refusal = self._refusal(http, "run")
        if refusal is not None:
            return self.error(refusal)
        try:
            sent = RunBody.model_validate(body)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            found = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults)
            return self.error(Error(status=400, message=f"invalid request: {found}"))
        life = how if isinstance(how, JobLife) else self.script.usual
        run = self.runs.begin(request.generation)
        job = Job(endpoint=http.match_info["endpoint"], sent=sent, life=life, run=run)
        self.jobs.begin(job, self.script.speed)
        return json_response({"id": job.id, "status": "IN_QUEUE"})

    async def _told(self, http: web.Request, how: RunpodBehaviour | None) -> web.Response:
        job = self._found(http, "status")
        return json_response(job.body(time.monotonic())) if isinstance(job, Job) else self.error(job)

    async def _canceled(self, http: web.Request, how: RunpodBehaviour | None) -> web.Response:
        job = self._found(http, "cancel")
        if isinstance(job, Error):
            return self.error(job)
        if isinstance(how, CancelIgnored):
            job.run.end()
            return json_response({"id": job.id, "status": "CANCELLED"})
        self.jobs.cancel(job)
        return json_response({"id": job.id, "status": job.ended})

    async def _healthy(self, http: web.Request, how: RunpodBehaviour | None) -> web.Response:
        refusal = self._refusal(http, "health")
        if refusal is not None:
            return self.error(refusal)
        health = self.jobs.health(http.match_info["endpoint"])
        return json_response(
            {**health, "workers": {**health["workers"], **how.workers}} if isinstance(how, Health) else health
        )

    def _found(self, http: web.Request, operation: Operation) -> Job | Error:
        refusal = self._refusal(http, operation)
        return refusal or self.jobs.get(http.match_info["endpoint"], http.match_info["job"]) or _NOT_FOUND

    def _refusal(self, http: web.Request, operation: Operation) -> Error | None:
        """Checks the key, then the endpoint, then the rate limit."""
        endpoint, limit = http.match_info["endpoint"], self.script.limits.get(operation)
        if not self._authorized(http.headers.get("Authorization", "")):
            return Error(status=401, body="")
        if self.script.endpoints is not None and endpoint not in self.script.endpoints:
            return Error(status=404, message="endpoint not found")
        if limit is not None and not self._rate_limit.accepts(f"{endpoint}/{operation}", limit, time.monotonic()):
            return Error(status=429, message="too many requests")
        return None

    def _authorized(self, header: str) -> bool:
        """The header is `Bearer KEY`, or the key alone."""
        key = header.removeprefix("Bearer ").strip()
        return bool(key) and self._key in {None, key}

    async def _take(self, http: web.Request) -> web.Response:
        if not self._authorized(http.headers.get("Authorization", "")):
            return self.error(Error(status=401, body=""))
        job = await self._outside.take(http.match_info["endpoint"], http.match_info["worker"])
        return web.Response(status=204) if job is None else json_response(job)

    async def _report(self, http: web.Request) -> web.Response:
        """The SDK sends JSON with the content type of a form."""
        if not self._authorized(http.headers.get("Authorization", "")):
            return self.error(Error(status=401, body=""))
        body = await read_json(http)
        if not isinstance(body, dict):
            return self.error(Error(status=400, message="the result is no JSON object"))
        taken = self._outside.report(http.match_info["job"], body)
        return json_response({}) if taken else self.error(_NOT_FOUND)

    async def _stop(self, http: web.Request) -> web.Response:
        if not self._authorized(http.headers.get("Authorization", "")):
            return self.error(Error(status=401, body=""))
        return json_response({"jobsToStop": await self._outside.stopped(http.match_info["worker"])})

    async def _taken(self, job: Job) -> None:
        if job.life.worker == "outside":
            await self._outside.taken(job)

    async def _worked(self, job: Job) -> JsonValue:
        if job.life.worker == "outside":
            return await self._outside.output(job)
        return await work(job.sent.input, job.life, self._store, self.script.image_side_max)


@asynccontextmanager
async def fake_runpod(
    script: RunpodScript | None = None,
    *,
    seed: int = 0,
    settings: Settings | None = None,
    key: str | None = None,
    runs: Runs | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[RunpodServer]:
    """Serves until the context ends. `server.url`: the base URL without /v2. `settings`: of the object store; without
    it the worker fails jobs that name an object key. `runs` may be shared with another server."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_object_store(settings)) if settings else None
        session = await stack.enter_async_context(ClientSession())
        server = RunpodServer(script or RunpodScript(), seed=seed, key=key, runs=runs, store=store, session=session)
        stack.push_async_callback(server.jobs.close)
        await stack.enter_async_context(served(server, host, port))
        yield server


def _run_request(body: object) -> Request:
    """Tolerates invalid bodies. Without an id, the prompt distinguishes generations."""
    given = body.get("input") if isinstance(body, dict) else None
    named = given if isinstance(given, dict) else {}
    prompt, generation, attempt = (named.get(name) for name in ("prompt", "generation_id", "attempt"))
    return Request(
        operation="run",
        generation=generation if isinstance(generation, str) else str(prompt),
        prompt=prompt if isinstance(prompt, str) else "",
        attempt=attempt if isinstance(attempt, int) else None,
    )
