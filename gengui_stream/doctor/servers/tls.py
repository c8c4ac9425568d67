"""Checks of TLS: whether each server is verified, by which CA, and how long its certificate is valid."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.errors import TlsError
from gengui_stream.log.connection import addresses
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.verification import Tls, tls_of_database, tls_of_redis
from gengui_stream.tls import refusals
from gengui_stream.tls.certificates import POSTGRESQL_ASKS, Certificate, authorities, own, shown_by, verify
from gengui_stream.tls.refusals import TlsSettings, refusal

ENDS_SOON: Final = timedelta(days=14)
HANDSHAKE_S: Final = 3.0
RENEW: Final = "renew the certificate"


@dataclass(frozen=True, slots=True)
class Server:
    """`name`: of the finding. `mode`: as the settings have it. `ca_file`: None for the CAs of the system or of the
    library. `remedy`: how to have it verified. `starting`: what a client sends before the handshake."""

    name: str
    host: str
    port: int
    mode: Tls
    ca_file: Path | None
    settings: TlsSettings
    remedy: str
    starting: bytes = b""


async def check_tls(context: Context) -> list[Finding]:
    found = await asyncio.gather(*(_check(server, context.settings) for server in servers_of(context.settings)))
    return [*(finding for findings in found for finding in findings), *_own_certificate(context.settings)]


def servers_of(settings: Settings) -> list[Server]:
    """Pure. Without those that are reached by a socket of the operating system, or are one of several hosts."""
    return [*_postgresql(settings), *_redis(settings), *_kafka(settings), *_object_store(settings)]


def _postgresql(settings: Settings) -> Iterator[Server]:
    parts = urlsplit(settings.database_dsn)
    given = dict(parse_qsl(parts.query))
    if (host := _host(parts)) and not given.keys() & {"host", "service"}:
        ca_file = given.get("sslrootcert", "system")
        yield Server(
            "postgresql.tls",
            host,
            parts.port or 5432,
            tls_of_database(settings.database_dsn),
            None if ca_file == "system" else Path(ca_file),
            refusals.POSTGRESQL,
            "set DB_SSL=true, or sslmode=verify-full in DATABASE_URL",
            POSTGRESQL_ASKS,
        )


def _redis(settings: Settings) -> Iterator[Server]:
    parts = urlsplit(settings.redis_dsn)
    if host := _host(parts):
        ca_file = dict(parse_qsl(parts.query)).get("ssl_ca_certs")
        mode, port = tls_of_redis(settings.redis_dsn), parts.port or 6379
        remedy = "set REDIS_URL to a rediss:// URL without ssl_cert_reqs and ssl_check_hostname"
        yield Server("redis.tls", host, port, mode, Path(ca_file) if ca_file else None, refusals.REDIS, remedy)


def _kafka(settings: Settings) -> Iterator[Server]:
    mode: Tls = "verified" if settings.kafka_security_protocol.endswith("SSL") else "none"
    remedy = "set KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL"
    for address in addresses(settings):
        host, _, port = address.rpartition(":")
        yield Server("kafka.tls", host.strip("[]"), int(port), mode, settings.kafka_ca_file, refusals.KAFKA, remedy)


def _object_store(settings: Settings) -> Iterator[Server]:
    """AWS's own store is not checked."""
    parts = urlsplit(settings.s3_endpoint or "")
    if host := _host(parts):
        mode: Tls = "verified" if parts.scheme == "https" else "none"
        port, remedy = parts.port or (443 if mode == "verified" else 80), "set S3_ENDPOINT to a https:// URL"
        yield Server("object_store.tls", host, port, mode, settings.s3_ca_file, refusals.OBJECT_STORE, remedy)


def _host(parts: SplitResult) -> str | None:
    return None if "," in parts.netloc else parts.hostname


async def _check(server: Server, settings: Settings) -> list[Finding]:
    """Nothing of a server that is unavailable, which other checks report."""
    if server.mode == "none":
        plain = warn(server.name, f"{server.host}:{server.port} without TLS", server.remedy)
        return [plain] if settings.environment == "production" else []
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            shown = await shown_by(server.host, server.port, starting=server.starting)
            refused = await _refused(server) if shown is not None else None
    except (OSError, TimeoutError, ValueError):
        return []
    return [evaluate(server, shown, refused, datetime.now(UTC))]


async def _refused(server: Server) -> TlsError | None:
    """Of a server that must be verified: why it is not. The CAs of boto3 are not those of the system."""
    if server.mode == "unverified" or (server.ca_file is None and server.name == "object_store.tls"):
        return None
    context = ssl.create_default_context(cafile=server.ca_file)
    context.check_hostname = server.mode == "verified"
    try:
        await verify(server.host, server.port, context, starting=server.starting)
    except ssl.SSLError as error:
        return refusal(error, f"{server.host}:{server.port}", server.settings)
    return None


def evaluate(server: Server, shown: Certificate | None, refused: TlsError | None, now: datetime) -> Finding:
    """Pure, but for the names in the file of CAs. `shown`: None where the server offers no TLS."""
    name, where = server.name, f"{server.host}:{server.port}"
    if shown is None:
        return fail(name, f"{where} offers no TLS", "enable TLS on the server, or correct its address")
    if refused is not None:
        return fail(name, f"{refused.fault}; {_trust(server, shown)}", refused.remedy)
    validity = _validity(shown.ends_at, now)
    if shown.ends_at - now < ENDS_SOON:
        return warn(name, f"{where}: {validity}", RENEW) if shown.ends_at > now else fail(name, validity, RENEW)
    match server.mode:
        case "verified":
            return ok(name, f"{where} is verified; {validity}")
        case "chain":
            return warn(name, f"{where}: the name in the certificate is not verified; {validity}", server.remedy)
        case _:
            return warn(name, f"{where} is encrypted, and not verified; {validity}", server.remedy)


def _trust(server: Server, shown: Certificate) -> str:
    issued = f"the certificate is issued by {shown.issuer}"
    if server.ca_file is None:
        return f"{issued}, and {server.settings.ca} is unset"
    try:
        trusted = ", ".join(authorities(server.ca_file)[:3])
    except (OSError, ValueError):
        return issued
    return f"{issued}, and {server.ca_file} has {trusted}"


def _validity(ends_at: datetime, now: datetime) -> str:
    if ends_at <= now:
        return f"the certificate ended on {ends_at:%Y-%m-%d}"
    return f"the certificate ends in {(ends_at - now).days} days, on {ends_at:%Y-%m-%d}"


def _own_certificate(settings: Settings) -> Sequence[Finding]:
    name, path = "kafka.client_certificate", settings.kafka_cert_file
    if path is None:
        return []
    try:
        ends_at, now = own(path).ends_at, datetime.now(UTC)
    except (OSError, ValueError):
        return [fail(name, f"{path} has no certificate", "correct KAFKA_CERT_FILE")]
    if ends_at <= now:
        return [fail(name, _validity(ends_at, now), "renew KAFKA_CERT_FILE, and restart the roles")]
    if ends_at - now < ENDS_SOON:
        return [warn(name, _validity(ends_at, now), "renew KAFKA_CERT_FILE, and restart the roles")]
    return [ok(name, _validity(ends_at, now))]
