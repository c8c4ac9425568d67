"""The provider `gemini`: Google's `generateContent`, whose response contains the image.

A call has no id, cannot be canceled, and its status cannot be queried. So an image is in the object store before the
attempt is reported as finished, and after a lost call the object store is polled until Google has abandoned the call
(`X-Server-Timeout`). No second attempt starts before then.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final, assert_never

import aiohttp
import structlog
from pydantic import SecretStr

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.metrics import Metrics
from gengui_stream.providers.context import ProviderContext
from gengui_stream.providers.gemini.image_config import ASPECT_RATIOS, nearest
from gengui_stream.providers.gemini.responses import Images, Retirement, read_error, read_response, read_retirement
from gengui_stream.providers.heartbeats import gemini_call_s
from gengui_stream.providers.interface import (
    CallPolicy,
    CancelOutcome,
    Capabilities,
    DispatchOutcome,
    DispatchRequest,
    FaultDomain,
    Finished,
    Lost,
    Moderated,
    ProviderJob,
    Refused,
    Running,
    StatusOutcome,
)
from gengui_stream.providers.output_store import OUTPUTS_MAX, NotAnImage, OutputStore
from gengui_stream.providers.words import without
from gengui_stream.settings import Settings
from schemas.fields import SIZE_MAX, SIZE_MIN, SIZE_STEP

CONNECT_S: Final = 10.0

RESPONSE_MAX_BYTES: Final = 96 * 1024 * 1024
SEEDS: Final = 2**31
"""Gemini's seeds are 32-bit and signed."""

_log = structlog.get_logger(__name__)


class GeminiProvider:
    """One HTTP call per attempt."""

    name: Final = "gemini"

    def __init__(
        self, settings: Settings, key: SecretStr, http: aiohttp.ClientSession, outputs: OutputStore, metrics: Metrics
    ) -> None:
        self._base_url = settings.gemini_base_url.rstrip("/")
        self._key = key
        self._http = http
        self._outputs = outputs
        self._metrics = metrics
        self._timeout_s = settings.gemini_timeout_s
        self._call_s = gemini_call_s(settings)
        self._models = settings.gemini_model_names
        self._warned: set[str] = set()
        self.capabilities = Capabilities(
            size_min=SIZE_MIN,
            size_max=SIZE_MAX,
            size_step=SIZE_STEP,
            models=self._models,
            aspect_ratios=ASPECT_RATIOS,
            observable=True,
        )
        self.call_policy = CallPolicy(
            max_concurrency=settings.gemini_calls_at_once,
            in_doubt_s=self._call_s,
            synchronous=True,
            heartbeat_timeout_s=self._call_s,
            poll_interval_s=10.0,
        )

    def model_for(self, requested: str) -> str:
        return requested if requested in self._models else self._models[0]

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        try:
            status, retry_after, body = await self._call(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:  # nothing was sent
            return Refused("provider_unreachable", f"Gemini cannot be reached: {type(error).__name__}", retryable=True)
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError too: the call may still run, and be billed
            raise TransientError(f"the call was lost: {type(error).__name__}") from error
        if status != 200:
            return self._without_key(read_error(status, body, retry_after, datetime.now(UTC)))
        return self._without_key(await self._outcome(request, body))

    async def _call(self, request: DispatchRequest) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body; the body is empty when it was too large or incomplete."""
        async with self._http.post(
            f"{self._base_url}/v1beta/models/{request.model}:generateContent",
            json=_body(request),
            headers=self._headers(request),
            timeout=aiohttp.ClientTimeout(total=self._call_s, sock_connect=CONNECT_S),
            allow_redirects=False,  # a redirect would disclose the key
        ) as response:
            return response.status, response.headers.get("Retry-After"), await _read(response)

    def _headers(self, request: DispatchRequest) -> dict[str, str]:
        headers = {
            "x-goog-api-key": self._key.get_secret_value(),
            "X-Server-Timeout": str(ceil(self._timeout_s)),
            "X-Request-ID": f"{request.generation_id}/{request.attempt}",
        }
        return headers | ({"traceparent": request.traceparent} if request.traceparent else {})

    async def _outcome(self, request: DispatchRequest, body: bytes) -> DispatchOutcome:
        answer, retirement = await asyncio.to_thread(
            lambda: (read_response(body, datetime.now(UTC)), read_retirement(body, request.model))
        )
        if retirement is not None:
            self._warn_of_retirement(retirement)
        match answer:
            case Images(bodies):
                return await self._store(request, bodies[:OUTPUTS_MAX])
            case Moderated() | Refused():
                return answer
            case _:
                assert_never(answer)

    async def _store(self, request: DispatchRequest, bodies: Sequence[bytes]) -> DispatchOutcome:
        try:
            stored = await self._outputs.put(request.owner_id, request.generation_id, bodies)
        except PermanentError as error:  # a fault of this installation; another call would be billed and fail too
            _log.error("image_not_stored", generation_id=str(request.generation_id), error=str(error))
            return Refused(
                "not_stored", "the image could not be stored", retryable=False, fault_domain=FaultDomain.REQUEST
            )
        if isinstance(stored, NotAnImage):
            return Refused("bad_image", f"Gemini returned an invalid image: {stored.reason}", retryable=True)
        return Finished(stored)

    def _warn_of_retirement(self, retirement: Retirement) -> None:
        self._metrics.model_retirement.labels(self.name, retirement.model).set(retirement.at.timestamp())
        if retirement.model not in self._warned:
            self._warned.add(retirement.model)
            at = retirement.at.isoformat()
            _log.warning("model_retires", provider=self.name, model=retirement.model, at=at, stage=retirement.stage)

    def _without_key(self, answer: DispatchOutcome) -> DispatchOutcome:
        match answer:
            case Refused():
                return replace(answer, message=self._hidden(answer.message))
            case Moderated(reason):
                return Moderated(self._hidden(reason))
            case _:
                return answer

    def _hidden(self, text: str) -> str:
        return without(text, [self._key.get_secret_value()])

    async def waiting(self, model: str, most: int) -> int | None:
        return None  # a call does the work at once

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        outputs = await self._outputs.find(request.owner_id, request.generation_id)
        if outputs:
            return Finished(outputs)
        started_at = job.started_at or job.dispatched_at
        if datetime.now(UTC) < started_at + timedelta(seconds=self.call_policy.in_doubt_s):
            return Running(note="the call may still be running at Gemini")
        return Lost("Gemini's response was lost")

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        return CancelOutcome.ALREADY_ENDED  # not supported: see capabilities


@asynccontextmanager
async def open_gemini(context: ProviderContext) -> AsyncIterator[GeminiProvider | None]:
    settings, key = context.settings, context.settings.gemini_api_key
    if key is None:
        yield None
        return
    output_store = OutputStore(
        object_store=context.store, max_bytes=settings.thumbnail_max_bytes, max_pixels=settings.thumbnail_max_pixels
    )
    yield GeminiProvider(settings, key, context.http, output_store, context.metrics)


def _body(request: DispatchRequest) -> dict[str, object]:
    config = nearest(request.width, request.height)
    return {
        "contents": [{"role": "user", "parts": [{"text": request.prompt}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": config.aspect_ratio, "imageSize": config.image_size},
            "seed": request.seed % SEEDS,
            "candidateCount": 1,
        },
    }


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Empty for an incomplete response: the call has ended at Google, and its image is lost."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_chunked(256 * 1024):
            body += chunk
            if len(body) > RESPONSE_MAX_BYTES:
                return b""
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError):
        return b""
    return bytes(body)
