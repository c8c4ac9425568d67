"""The finding about the collector of traces, against a server that gives each answer."""

import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from gengui_stream.doctor.collector import check_collector
from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding
from gengui_stream.settings import Settings, load_settings
from tests.http_sink import http_sink, silent_server


async def examined(settings: Settings) -> list[Finding]:
    async with aiohttp.ClientSession() as session:
        return await check_collector(Context(settings, session, Path(), 5.0))


async def test_where_tracing_is_off_there_is_nothing_to_check() -> None:
    assert await examined(Settings()) == []


@pytest.mark.parametrize(
    ("status", "finding", "remedy"),
    [
        (200, "ok", ""),
        (401, "warn", "OTEL_EXPORTER_OTLP_HEADERS"),
        (404, "warn", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (302, "warn", "log of the collector"),
        (503, "warn", "log of the collector"),
    ],
)
async def test_an_empty_export_shows_what_the_collector_answers(status: int, finding: str, remedy: str) -> None:
    with http_sink() as sink:
        sink.status = status
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=s3cret"}
        [found] = await examined(load_settings(given, ()))
        request = sink.first()
    assert (found.name, found.status) == ("traces.collector", finding)
    assert remedy in (found.remedy or "")
    assert (request.path, request.body, request.headers["x-key"]) == ("/v1/traces", b"", "s3cret")
    assert "s3cret" not in repr(found)


async def test_a_collector_that_is_not_there_is_a_warning() -> None:
    with silent_server() as url:
        pass
    [found] = await examined(load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, ()))
    assert (found.status, "ClientConnectorError" in found.detail) == ("warn", True)


@pytest.mark.parametrize(("foreign", "status"), [(False, "ok"), (True, "warn")])
async def test_the_certificate_of_a_collector_is_verified(tmp_path: Path, foreign: bool, status: str) -> None:
    ca, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    (trustme.CA() if foreign else ca).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with http_sink(tls) as sink:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem")}
        [found] = await examined(load_settings(given, ()))
    assert found.status == status


async def test_without_the_sdk_the_finding_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.util.re", None)
    [found] = await examined(load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, ()))
    assert (found.status, found.remedy) == ("fail", "pip install 'gengui-stream[observe]'")
