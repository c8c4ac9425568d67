"""Certificates: that which a server shows, whether or not it is trusted, and those in files."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

POSTGRESQL_ASKS: Final = bytes.fromhex("0000000804d2162f")
"""SSLRequest (PostgreSQL 17, 53.7), to which a server with TLS answers POSTGRESQL_ACCEPTS."""

POSTGRESQL_ACCEPTS: Final = b"S"


@dataclass(frozen=True, slots=True)
class Certificate:
    """`issuer`: as RFC 4514 writes it."""

    issuer: str
    ends_at: datetime


async def shown_by(host: str, port: int, *, starting: bytes = b"") -> Certificate | None:
    """The certificate of a server. None: it offers no TLS. Raises OSError, and ValueError for a certificate that cannot
    be read. `starting`: what to send before the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = await _handshake(host, port, context, starting)
    return None if body is None else _read(x509.load_der_x509_certificate(body))


async def verify(host: str, port: int, context: ssl.SSLContext, *, starting: bytes = b"") -> None:
    """Raises OSError, which ssl.SSLError is, when the context does not accept the server."""
    await _handshake(host, port, context, starting)


async def _handshake(host: str, port: int, context: ssl.SSLContext, starting: bytes) -> bytes | None:
    """The server's certificate in DER."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        if starting:
            writer.write(starting)
            if await reader.read(1) != POSTGRESQL_ACCEPTS:
                return None
        await writer.start_tls(context, server_hostname=host)
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()  # some servers never confirm the end of TLS


def own(path: Path) -> Certificate:
    """The first in a PEM file. Raises OSError and ValueError."""
    return _read(x509.load_pem_x509_certificate(path.read_bytes()))


def authorities(path: Path) -> Sequence[str]:
    """The names in a PEM file of CAs. Raises OSError and ValueError."""
    return [found.subject.rfc4514_string() for found in x509.load_pem_x509_certificates(path.read_bytes())]


def _read(found: x509.Certificate) -> Certificate:
    return Certificate(found.issuer.rfc4514_string(), found.not_valid_after_utc)
