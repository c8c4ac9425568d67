"""The fault and the remedy of each way in which TLS with a server fails."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gengui_stream.errors import TlsError, TransientError, reason
from gengui_stream.tls.refusals import KAFKA, refusal
from tests.unit.tls.tls_server import alerting_server, ca_file, server_context, tls_server

PAST = datetime.now(UTC) - timedelta(days=1)


async def _refused(port: int, context: ssl.SSLContext) -> TlsError:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - each case has its own
        await _read_one(port, context)
    found = refusal(refused.value, "server", KAFKA)
    assert found is not None, refused.value
    return found


async def _read_one(port: int, context: ssl.SSLContext) -> None:
    """In TLS 1.3 the server refuses a client after the handshake."""
    reader, _ = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    await reader.read(1)


async def test_another_ca_is_named_with_its_setting(tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=ca_file(tmp_path, trustme.CA()))
    async with tls_server(server_context(trustme.CA(), "127.0.0.1")) as port:
        found = await _refused(port, context)
    assert found.fault.startswith("server: certificate verify failed: ")
    assert found.remedy == "set KAFKA_CA_FILE to a PEM file with the CA of the server's certificate"
    assert str(found) == f"{found.fault}: {found.remedy}"


async def test_another_host_and_an_expired_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(cafile=ca_file(tmp_path, authority))
    async with tls_server(server_context(authority, "elsewhere.test")) as port:
        host = await _refused(port, context)
    async with tls_server(server_context(authority, "127.0.0.1", ends_at=PAST)) as port:
        expired = await _refused(port, context)
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in host.fault
    assert host.remedy.startswith("set KAFKA_BOOTSTRAP_SERVERS to a name in the server's certificate")
    assert expired.fault.endswith("certificate has expired")
    assert expired.remedy == "renew the server's certificate, or that of its CA"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_asks_for_a_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = trustme.CA()
    asking = server_context(authority, "127.0.0.1")
    asking.verify_mode, asking.maximum_version = ssl.CERT_REQUIRED, version
    authority.configure_trust(asking)
    with alerting_server(asking) as port:
        found = await _refused(port, ssl.create_default_context(cafile=ca_file(tmp_path, authority)))
    assert found.remedy.startswith("set KAFKA_CERT_FILE and KAFKA_KEY_FILE")


async def test_a_server_without_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n" * 10)
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        found = await _refused(server.sockets[0].getsockname()[1], ssl.create_default_context())
    assert found.remedy == "correct KAFKA_BOOTSTRAP_SERVERS: the server does not speak TLS on this port"


def test_the_cause_is_found_below_the_errors_of_clients() -> None:
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    inner.verify_code, inner.verify_message = 10, "certificate has expired"
    for outer in (ValueError(inner), _caused(inner, suppressed=False), _caused(inner, suppressed=True)):
        assert isinstance(refusal(outer, "server", KAFKA), TlsError)
    assert reason(inner) == "TLS: certificate verify failed: certificate has expired"


def _caused(inner: Exception, *, suppressed: bool) -> Exception:
    try:
        try:
            raise inner
        except ssl.SSLError as error:
            if suppressed:
                raise ValueError("outer") from error
            raise ValueError("outer")  # noqa: B904 - as redis-py does
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        TransientError("x"),
        TimeoutError(),
    ],
)
def test_what_a_restarting_server_causes_is_not_a_refusal(error: Exception) -> None:
    assert refusal(error, "server", KAFKA) is None
