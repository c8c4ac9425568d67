"""What a server and files show of certificates."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from gengui_stream.tls.certificates import POSTGRESQL_ASKS, authorities, own, shown_by, verify
from tests.unit.tls.tls_server import ca_file, server_context, tls_server

ENDS_AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


async def test_the_certificate_of_a_server_is_read_whether_or_not_it_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA(organization_name="Some CA")
    async with tls_server(server_context(authority, "elsewhere.test", ends_at=ENDS_AT)) as port:
        shown = await shown_by("127.0.0.1", port)
        with pytest.raises(ssl.SSLCertVerificationError):
            await verify("127.0.0.1", port, ssl.create_default_context())
    assert shown is not None
    assert "Some CA" in shown.issuer
    assert shown.ends_at == ENDS_AT
    [name] = authorities(ca_file(tmp_path, authority))
    assert "Some CA" in name


async def test_a_server_of_postgresqls_protocol_may_have_no_tls() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == POSTGRESQL_ASKS
        writer.write(b"N")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await shown_by("127.0.0.1", port, starting=POSTGRESQL_ASKS) is None


def test_the_first_certificate_of_a_file_is_ours(tmp_path: Path) -> None:
    issued, path = trustme.CA().issue_cert("client", not_after=ENDS_AT), tmp_path / "client.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    assert own(path).ends_at == ENDS_AT
    with pytest.raises(ValueError, match="PEM"):
        own(Path(__file__))
