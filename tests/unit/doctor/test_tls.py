"""What doctor finds of certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import trustme

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, Status
from gengui_stream.doctor.servers.tls import Server, check_tls, evaluate, servers_of
from gengui_stream.errors import TlsError
from gengui_stream.settings import Settings, load_settings
from gengui_stream.settings.addresses.verification import Tls
from gengui_stream.tls.certificates import Certificate
from gengui_stream.tls.refusals import KAFKA
from tests.unit.tls.tls_server import ca_file, server_context, tls_server

NOW: Final = datetime(2026, 11, 30, tzinfo=UTC)
ENDED: Final = datetime.now(UTC) - timedelta(days=1)


def server(mode: Tls = "verified", trusted: Path | None = None) -> Server:
    return Server("kafka.tls", "broker", 9093, mode, trusted, KAFKA, "set it")


def ending(days: int) -> Certificate:
    return Certificate("O=Some CA", NOW + timedelta(days=days, hours=1))


@pytest.mark.parametrize(
    ("mode", "days", "status", "detail"),
    [
        ("verified", 14, "ok", "broker:9093 is verified; the certificate ends in 14 days, on 2026-12-14"),
        ("verified", 13, "warn", "broker:9093: the certificate ends in 13 days, on 2026-12-13"),
        ("unverified", -2, "fail", "the certificate ended on 2026-11-28"),
        ("unverified", 90, "warn", "broker:9093 is encrypted, and not verified; the certificate ends in 90 days"),
        ("chain", 90, "warn", "broker:9093: the name in the certificate is not verified; the certificate ends in 90"),
    ],
)
def test_verification_and_days(mode: Tls, days: int, status: Status, detail: str) -> None:
    found = evaluate(server(mode), ending(days), None, NOW)
    assert (found.name, found.status) == ("kafka.tls", status)
    assert found.detail.startswith(detail)


def test_a_server_without_tls_fails() -> None:
    assert evaluate(server(), None, None, NOW).status == "fail"


def test_the_ca_that_issued_it_and_the_one_that_is_trusted_are_named(tmp_path: Path) -> None:
    trusted = ca_file(tmp_path, trustme.CA(organization_name="Trusted CA"))
    found = evaluate(
        server(trusted=trusted), ending(90), TlsError("certificate verify failed", "set KAFKA_CA_FILE"), NOW
    )
    assert found.status == "fail"
    assert found.detail.startswith("certificate verify failed; the certificate is issued by O=Some CA, and ")
    assert "Trusted CA" in found.detail
    assert found.remedy == "set KAFKA_CA_FILE"


def test_servers_are_those_of_the_settings() -> None:
    environ = {
        "DATABASE_URL": "postgresql://db:5433/x?sslmode=require",
        "REDIS_URL": "rediss://cache",
        "KAFKA_BOOTSTRAP_SERVERS": "a:1, [::1]:2",
        "S3_ENDPOINT": "https://store/path",
    }
    found = servers_of(load_settings(environ, env_files=()))
    assert [(one.name, one.host, one.port, one.mode) for one in found] == [
        ("postgresql.tls", "db", 5433, "unverified"),
        ("redis.tls", "cache", 6379, "verified"),
        ("kafka.tls", "a", 1, "none"),
        ("kafka.tls", "::1", 2, "none"),
        ("object_store.tls", "store", 443, "verified"),
    ]
    sockets = {"DATABASE_URL": "postgresql:///x?host=/run", "REDIS_URL": "unix:///run/redis", "S3_ENDPOINT": ""}
    assert [one.name for one in servers_of(load_settings(sockets, env_files=()))] == ["kafka.tls"]


async def _checked(settings: Settings, tmp_path: Path) -> list[Finding]:
    async with aiohttp.ClientSession() as http:
        return await check_tls(Context(settings, http, tmp_path, 5.0))


async def test_brokers_and_our_certificate_are_checked_by_their_handshake(tmp_path: Path) -> None:
    authority, client = trustme.CA(organization_name="Ours"), tmp_path / "client.pem"
    authority.issue_cert("client", not_after=ENDED).private_key_and_cert_chain_pem.write_to_path(str(client))
    async with (
        tls_server(server_context(authority, "127.0.0.1")) as good,
        tls_server(server_context(trustme.CA(organization_name="Theirs"), "127.0.0.1")) as other,
        tls_server(server_context(authority, "127.0.0.1", ends_at=ENDED)) as expired,
    ):
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{good},127.0.0.1:{other},127.0.0.1:{expired},127.0.0.1:1",
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_CA_FILE": str(ca_file(tmp_path, authority)),
            "KAFKA_CERT_FILE": str(client),
        }
        verified, wrong, ended, ours = await _checked(load_settings(environ, env_files=()), tmp_path)
    assert (verified.status, wrong.status, ended.status, ours.status) == ("ok", "fail", "fail", "fail")
    assert "O=Theirs" in wrong.detail
    assert "O=Ours" in wrong.detail
    assert "certificate has expired" in ended.detail
    assert ours.name == "kafka.client_certificate"


async def test_servers_without_tls_are_a_warning_in_production_alone(tmp_path: Path) -> None:
    assert await _checked(load_settings({}, env_files=()), tmp_path) == []
    found = await _checked(load_settings({"ENVIRONMENT": "production"}, env_files=()), tmp_path)
    assert [(one.name, one.status) for one in found] == [
        ("postgresql.tls", "warn"),
        ("redis.tls", "warn"),
        ("kafka.tls", "warn"),
    ]
