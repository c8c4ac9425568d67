"""Checks of each configured provider: the key is valid, the model or endpoint exists, workers are running."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.doctor.role_processes import address
from gengui_stream.errors import TransientError
from gengui_stream.providers.gemini.responses import read_error
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.providers.runpod.client import RunpodClient
from gengui_stream.providers.runpod.health import Diagnosis, Workers, diagnose, workers_of
from gengui_stream.providers.runpod.responses import Response
from gengui_stream.redis_io.inspection import GroupReader, StreamFacts, inspect_stream
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.settings import Settings

TIMEOUT_S: Final = 4.0
READING_S: Final = 15.0
"""A worker without a job reads from the queue every second."""

RETIREMENT_METRIC: Final = "gengui_model_retirement_timestamp_seconds"
RETIREMENT_NEAR: Final = timedelta(days=30)


# gemini


async def check_gemini(context: Context) -> list[Finding]:
    key = context.settings.gemini_api_key
    if key is None:
        return []
    return [
        await _gemini_model(context, model, key.get_secret_value()) for model in context.settings.gemini_model_names
    ]


async def _gemini_model(context: Context, model: str, key: str) -> Finding:
    url = f"{context.settings.gemini_base_url.rstrip('/')}/v1beta/models/{model}"
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with context.http.get(
            url, headers={"x-goog-api-key": key}, timeout=timeout, allow_redirects=False
        ) as response:
            return evaluate_gemini(model, response.status, (await response.read()).replace(key.encode(), b"***"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        remedy = "allow connections to GEMINI_BASE_URL, or correct it"
        return fail(f"provider.gemini.{model}", f"Gemini is unavailable: {type(error).__name__}", remedy)


def evaluate_gemini(model: str, status: int, body: bytes) -> Finding:
    """Pure."""
    name = f"provider.gemini.{model}"
    if status == 404:
        return fail(name, "the model does not exist any more", "set GEMINI_MODEL to its successor")
    if status != 200:
        refusal = read_error(status, body, None, datetime.now(UTC))
        remedy = "correct GEMINI_API_KEY" if status in {400, 401, 403} else "try again later"
        return fail(name, refusal.message, remedy)
    methods = _object(body).get("supportedGenerationMethods")
    if isinstance(methods, list) and "generateContent" not in methods:
        return fail(name, "the model does not support generateContent", "correct GEMINI_MODEL")
    return ok(name, "the key is valid and the model exists")


async def check_retirement(context: Context) -> list[Finding]:
    """Reads the metric of the dispatch role: Gemini announces retirements only in responses with images."""
    if context.settings.gemini_api_key is None:
        return []
    try:
        async with context.http.get(f"{address(context, 'dispatch')}/metrics") as response:
            families = list(text_string_to_metric_families(await response.text()))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return []
    samples = [sample for family in families if family.name == RETIREMENT_METRIC for sample in family.samples]
    now = datetime.now(UTC)
    return [
        evaluate_retirement(sample.labels["model"], datetime.fromtimestamp(sample.value, UTC), now)
        for sample in samples
    ]


def evaluate_retirement(model: str, at: datetime, now: datetime) -> Finding:
    """Pure. `at`: the time that the dispatch role read from Gemini's responses."""
    name, detail = f"provider.gemini.{model}.retirement", f"{at:%Y-%m-%d}"
    if at - now < RETIREMENT_NEAR:
        return warn(name, detail, "set GEMINI_MODEL to its successor before that date")
    return ok(name, detail)


# runpod


async def check_runpod(context: Context) -> list[Finding]:
    settings = context.settings
    key, endpoint = settings.runpod_api_key, settings.runpod_endpoint_id
    if key is None or endpoint is None:
        return []
    client = RunpodClient(
        context.http, base_url=settings.runpod_base_url, key=key.get_secret_value(), timeout_s=TIMEOUT_S
    )
    try:
        response = await client.health(endpoint)
    except TransientError as error:
        return [fail("provider.runpod", str(error), "allow connections to RUNPOD_BASE_URL, or correct it")]
    return [evaluate_runpod(endpoint, response)]


def evaluate_runpod(endpoint: str, response: Response) -> Finding:
    """Pure."""
    name = "provider.runpod"
    if response.status in {401, 403}:
        return fail(name, f"RunPod refuses the key ({response.status})", "correct RUNPOD_API_KEY")
    if response.status == 404:
        return fail(name, f"there is no endpoint {endpoint}", "correct RUNPOD_ENDPOINT_ID")
    if response.status != 200:
        return fail(
            name, f"RunPod responded with {response.status}", "try again later; RunPod's status page may say why"
        )
    return _runpod_workers(workers_of(response.body), _queued(response.body))


def _runpod_workers(workers: Workers, queued: int) -> Finding:
    name, found = "provider.runpod", diagnose(workers)
    detail = f"{queued} jobs in the queue: {found}"
    match found:
        case Diagnosis.CRASH_LOOP:
            remedy = "see the workers' logs at RunPod: the image, its environment, its memory"
            return fail(name, detail, remedy)
        case Diagnosis.NO_CAPACITY:
            return warn(name, detail, "wait, or allow other GPU types or regions for the endpoint")
        case Diagnosis.UNKNOWN if queued:
            return fail(
                name,
                f"Job stuck: {queued} jobs in the queue, and no workers",
                "raise the endpoint's max workers at RunPod",
            )
        case Diagnosis.UNKNOWN:
            return ok(name, "no workers now: RunPod starts them for jobs")
        case Diagnosis.COLD_START | Diagnosis.BUSY:
            return ok(name, detail)
        case _:
            assert_never(found)


def _queued(body: object) -> int:
    jobs = body.get("jobs") if isinstance(body, Mapping) else None
    found = jobs.get("inQueue") if isinstance(jobs, Mapping) else None
    return found if isinstance(found, int) else 0


# local


async def check_local(context: Context) -> list[Finding]:
    async with opened_redis(context.settings) as redis:
        return [evaluate_local(await inspect_stream(redis, QUEUE_STREAM), context.settings)]


def evaluate_local(queue: StreamFacts, settings: Settings) -> Finding:
    """Pure."""
    name = "provider.local"
    reading = [reader for reader in queue.readers if _works(reader, settings.attempt_silence_s)]
    detail = f"{len(reading)} workers read the queue, {queue.length} jobs on it"
    if reading:
        return ok(name, detail)
    used = settings.default_provider == "local" or "local" in settings.fallback_order
    remedy = "start `gengui-stream worker`, or a worker of your own; see its log and its REDIS_URL"
    if queue.length:
        return fail(name, f"Job stuck: {queue.length} jobs on the queue, and no worker reads it", remedy)
    return warn(name, "no worker reads the queue", remedy) if used else ok(name, "not used: no worker, no jobs")


def _works(reader: GroupReader, silence_s: float) -> bool:
    """A reader with a job may be idle for the heartbeat time-out of an attempt."""
    return reader.idle_s < (silence_s if reader.pending else READING_S)


def _object(body: bytes) -> Mapping[str, object]:
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
