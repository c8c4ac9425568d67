"""Warnings about valid settings: renamed or unread variables, and values that are rarely intended."""

from collections.abc import Iterator

from gengui_stream.settings.addresses.verification import tls_of_database, tls_of_redis
from gengui_stream.settings.loading import Inspection
from gengui_stream.settings.model import Settings
from gengui_stream.settings.older_names import Renaming
from gengui_stream.settings.unread import Unread


def remarks(inspection: Inspection) -> list[str]:
    """One line each: renamed variables, then unread ones."""
    return [*map(_renaming, inspection.renamings), *map(_unread, inspection.unread())]


def advice(settings: Settings) -> list[str]:
    """One line each, with the remedy."""
    return list(_production(settings)) if settings.environment == "production" else []


def _renaming(renaming: Renaming) -> str:
    if renaming.used:
        return f"{renaming.old}: an older name, taken as {renaming.new}"
    return f"{renaming.old}: an older name, ignored because {renaming.new} is set"


def _unread(found: Unread) -> str:
    if found.not_used_yet:
        return f"{found.name} ({found.source}): not used yet"
    meant = f"; did you mean {found.nearest}?" if found.nearest else ""
    return f"{found.name} ({found.source}): there is no such setting{meant}"


def _production(settings: Settings) -> Iterator[str]:
    if settings.events_replication_factor < 3:
        yield "EVENTS_REPLICATION_FACTOR: less than 3 in production: the loss of a broker may lose events"
    if not settings.kafka_security_protocol.endswith("SSL"):
        yield "KAFKA_SECURITY_PROTOCOL: without TLS in production: set SASL_SSL or SSL"
    match tls_of_database(settings.database_dsn):
        case "none":
            yield "DATABASE_URL, DB_SSL: without TLS in production: set DB_SSL=true, or ?sslmode=verify-full"
        case "unverified":
            yield "DATABASE_URL: any server is trusted in production: set ?sslmode=verify-full"
    match tls_of_redis(settings.redis_dsn):
        case "none":
            yield "REDIS_URL: without TLS in production: use a rediss:// URL"
        case "unverified":
            yield "REDIS_URL: any server is trusted in production: leave out ssl_cert_reqs and ssl_check_hostname"
    if (settings.s3_endpoint or "").startswith("http://"):
        yield "S3_ENDPOINT: without TLS in production: use a https:// URL"
