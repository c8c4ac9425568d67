"""Debian's PgBouncer with TLS on both sides."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.integration.postgres.pgbouncer import running_pooler
from tests.integration.tls.certificates import HOST, Certificates
from tests.integration.tls.servers.postgresql import USER, PostgresqlWithTls

WITH_TLS: Final = """
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
server_tls_sslmode = verify-full
server_tls_ca_file = {ca}
"""


@asynccontextmanager
async def pooler_with_tls(folder: Path, server: PostgresqlWithTls, certificates: Certificates) -> AsyncIterator[int]:
    """The port of a pooler that runs during the block."""
    pair = certificates.server
    files = WITH_TLS.format(certificate=pair.certificate, key=pair.key, ca=certificates.ca)
    async with running_pooler(folder, HOST, server.port, USER, files) as port:
        yield port
