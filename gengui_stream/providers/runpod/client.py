"""A client of RunPod's HTTP API for queue-based endpoints, which keeps to its rate limits."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import aiohttp
import orjson
import structlog

from gengui_stream.errors import TransientError
from gengui_stream.providers.routing.rate_limiter import SlidingWindowLimiter
from gengui_stream.providers.runpod.responses import Response, retry_after_s

Operation: TypeAlias = Literal["run", "status", "cancel", "health"]

LIMITS: Final[Mapping[Operation, int]] = {"run": 800, "status": 1_600, "cancel": 80, "health": 80}
"""Calls in ten seconds: four fifths of RunPod's limit for an endpoint. Several processes may exceed it together; the
rejected calls are retried."""

BODY_MAX: Final = 32 * 1024 * 1024
CHUNK: Final = 256 * 1024

_log = structlog.get_logger(__name__)


class NotSent(TransientError):
    """No connection could be made, so nothing of the call was sent."""


class _Body(NamedTuple):
    """`secret`: a part that must not be shown."""

    content: bytes | None = None
    secret: bytes = b""


class RunpodClient:
    """Methods raise NotSent, or TransientError when it is unknown whether the call was carried out."""

    def __init__(self, http: aiohttp.ClientSession, *, base_url: str, key: str, timeout_s: float) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._key = key.encode()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(5.0, timeout_s))
        self._limiters = {operation: SlidingWindowLimiter(limit) for operation, limit in LIMITS.items()}

    async def run(self, endpoint_id: str, body: Mapping[str, object]) -> Response:
        """The response repeats neither the key nor the token of the webhook."""
        token = str(body.get("webhook", "")).rpartition("/")[2].encode()
        return await self._call("POST", endpoint_id, "run", "", _Body(orjson.dumps(body), token))

    async def status(self, endpoint_id: str, job_id: str) -> Response:
        return await self._call("GET", endpoint_id, "status", job_id)

    async def cancel(self, endpoint_id: str, job_id: str) -> Response:
        return await self._call("POST", endpoint_id, "cancel", job_id)

    async def health(self, endpoint_id: str) -> Response:
        return await self._call("GET", endpoint_id, "health", "")

    async def _call(
        self, method: str, endpoint_id: str, operation: Operation, job_id: str, body: _Body | None = None
    ) -> Response:
        path = [endpoint_id, operation, job_id] if job_id else [endpoint_id, operation]
        url = f"{self._base_url}/v2/{'/'.join(quote(part, safe='') for part in path)}"
        await self._limiters[operation].acquire()
        response = await self._exchange(method, url, body or _Body())
        if response.status != 200:
            ids = {"endpoint_id": endpoint_id, "provider_job_id": job_id or None}
            _log.info("runpod_refused", operation=operation, status=response.status, said=response.words, **ids)
        return response

    async def _exchange(self, method: str, url: str, body: _Body) -> Response:
        # A redirect is not followed: it would disclose the key.
        try:
            async with self._http.request(
                method, url, data=body.content, headers=self._headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                retry_after = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
                return Response(response.status, await self._json_of(response, body.secret), retry_after)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"RunPod cannot be reached: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"no response from RunPod: {type(error).__name__}") from error

    async def _json_of(self, response: aiohttp.ClientResponse, secret: bytes) -> object:
        """None for a body that is not JSON, such as an HTML page. The API key and `secret` are removed: a server may
        echo what it was sent."""
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > BODY_MAX:
                raise TransientError(f"RunPod's response has more than {BODY_MAX} bytes")
        try:
            document: object = orjson.loads(_without(body, self._key, secret))
        except orjson.JSONDecodeError:
            return None
        return document


def _without(body: bytearray, *secrets: bytes) -> bytes:
    for secret in filter(None, secrets):
        body = body.replace(secret, b"***")
    return bytes(body)
