"""Calls of RunPod's HTTP API for queue-based endpoints, each kept under its rate limit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import aiohttp
import orjson
import structlog

from gengui_stream.errors import TransientError
from gengui_stream.providers.routing.rate_limiter import SlidingWindowLimiter
from gengui_stream.providers.runpod.responses import Answer, retry_after_s

Operation: TypeAlias = Literal["run", "status", "cancel", "health"]

LIMITS: Final[Mapping[Operation, int]] = {"run": 800, "status": 1_600, "cancel": 80, "health": 80}
"""Calls in ten seconds: four fifths of what RunPod takes for an endpoint. Several processes may go beyond it together;
what is refused then is tried again."""

BODY_MAX: Final = 32 * 1024 * 1024
CHUNK: Final = 256 * 1024

_log = structlog.get_logger(__name__)


class NotSent(TransientError):  # noqa: N818 - says what is the case
    """No connection came about: nothing of the call was sent."""


class RunpodHttp:
    """Raises NotSent, or TransientError when it is not known whether the call was carried out."""

    def __init__(self, http: aiohttp.ClientSession, *, base_url: str, key: str, timeout_s: float) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._key = key.encode()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(5.0, timeout_s))
        self._limiters = {operation: SlidingWindowLimiter(limit) for operation, limit in LIMITS.items()}

    async def run(self, endpoint_id: str, body: object) -> Answer:
        return await self._call("POST", endpoint_id, "run", "", orjson.dumps(body))

    async def status(self, endpoint_id: str, job_id: str) -> Answer:
        return await self._call("GET", endpoint_id, "status", job_id)

    async def cancel(self, endpoint_id: str, job_id: str) -> Answer:
        return await self._call("POST", endpoint_id, "cancel", job_id)

    async def health(self, endpoint_id: str) -> Answer:
        return await self._call("GET", endpoint_id, "health", "")

    async def _call(
        self, method: str, endpoint_id: str, operation: Operation, job_id: str, body: bytes | None = None
    ) -> Answer:
        path = [endpoint_id, operation, job_id] if job_id else [endpoint_id, operation]
        url = f"{self._base_url}/v2/{'/'.join(quote(part, safe='') for part in path)}"
        await self._limiters[operation].acquire()
        answer = await self._exchange(method, url, body)
        if answer.status != 200:
            ids = {"endpoint_id": endpoint_id, "provider_job_id": job_id or None}
            _log.info("runpod_refused", operation=operation, status=answer.status, said=answer.said, **ids)
        return answer

    async def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        # A redirect is not followed: it would take the key to wherever it points.
        try:
            async with self._http.request(
                method, url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                wish = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
                return Answer(response.status, await self._json_of(response), wish)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"RunPod cannot be reached: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"RunPod did not answer: {type(error).__name__}") from error

    async def _json_of(self, response: aiohttp.ClientResponse) -> object:
        """None for what is no JSON, such as a page for people. Our key is taken out: what a server says back may be
        what it was sent."""
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > BODY_MAX:
                raise TransientError(f"RunPod's answer has more than {BODY_MAX} bytes")
        try:
            document: object = orjson.loads(body.replace(self._key, b"***"))
        except orjson.JSONDecodeError:
            return None
        return document
