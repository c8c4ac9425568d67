"""Checks that the collector takes spans: an empty export is a valid one."""

import ssl
from typing import Final

import aiohttp

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.tracing.export import INSTALL, endpoint_of, headers_of

NAME: Final = "traces.collector"
TIMEOUT: Final = aiohttp.ClientTimeout(total=4)


async def check_collector(context: Context) -> list[Finding]:
    """None where tracing is off."""
    url = endpoint_of(context.settings)
    if url is None:
        return []
    try:
        headers = {"Content-Type": "application/x-protobuf", **headers_of(context.settings)}
    except ImportError as error:
        return [fail(NAME, f"{error.name} is not installed, so no role starts", INSTALL)]
    try:
        async with context.http.post(
            url, data=b"", headers=headers, timeout=TIMEOUT, ssl=_tls(context), allow_redirects=False
        ) as response:
            return [_of_status(url, response.status)]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        remedy = "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, usually port 4318)"
        return [warn(NAME, f"{url} is unavailable, so spans are lost: {type(error).__name__}", remedy)]


def _tls(context: Context) -> ssl.SSLContext | bool:
    ca_file = context.settings.otel_exporter_otlp_certificate
    return ssl.create_default_context(cafile=ca_file) if ca_file else True


def _of_status(url: str, status: int) -> Finding:
    if status < 300:
        return ok(NAME, url)
    answered = f"{url} responded with {status}, so spans are lost"
    if status in {401, 403}:
        return warn(NAME, answered, "correct OTEL_EXPORTER_OTLP_HEADERS, which has the collector's key")
    if status in {404, 405}:
        remedy = "correct OTEL_EXPORTER_OTLP_ENDPOINT: its base URL, to which /v1/traces is added"
        return warn(NAME, answered, remedy)
    return warn(NAME, answered, "see the log of the collector")
