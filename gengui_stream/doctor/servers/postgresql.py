"""Checks of PostgreSQL: availability, permissions, migrations."""

import re
import ssl
from collections.abc import Mapping
from typing import Final

import asyncpg

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, clock, connected, fail, ok, warn
from gengui_stream.errors import ConfigurationError, reason
from gengui_stream.logging import redact_text
from gengui_stream.postgres.inspection import DatabaseFacts, inspect_database
from gengui_stream.postgres.migrations import unapplied_migrations
from gengui_stream.postgres.pool import address_of, refused_tls
from gengui_stream.settings import Settings

CONNECT_S: Final = 3.0
OLDEST_VERSION: Final = 14
WHERE: Final = "DATABASE_URL, or DB_HOST and DB_PORT"


async def check_database(context: Context) -> list[Finding]:
    try:
        facts = await inspect_database(context.settings, connect_s=CONNECT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [unreachable(error, address_of(context.settings.database_dsn))]
    return evaluate(facts, context.settings)


def unreachable(error: Exception, where: str) -> Finding:
    """Pure. `where`: host, port and database."""
    if (refused := refused_tls(error, where)) is not None:
        return fail("postgresql.connection", f"Database connection failed: {refused.fault}", refused.remedy)
    why = str(error) if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) else reason(error)
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            remedy = "set the user and the password in DATABASE_URL, or DB_USER and DB_PASSWORD"
        case asyncpg.InvalidCatalogNameError():
            remedy = "create the database, or set the name in DATABASE_URL, or DB_NAME"
        case asyncpg.TooManyConnectionsError():
            remedy = "lower DB_POOL_MAX, run fewer processes, or raise max_connections"
        case asyncpg.InterfaceError():
            remedy = f"correct {WHERE}"
        case asyncpg.CannotConnectNowError():
            remedy = "wait: it is starting up or shutting down"
        case ssl.SSLError():
            remedy = "the server's certificate does not match sslmode of DATABASE_URL, or DB_SSL"
        case _:
            remedy = f"start PostgreSQL, or correct {WHERE}"
    return fail("postgresql.connection", redact_text(f"Database connection failed: {where}: {why}"), remedy)


def evaluate(facts: DatabaseFacts, settings: Settings) -> list[Finding]:
    """Pure. The finding about the connection comes first."""
    tls = " over TLS" if facts.encrypted else ""
    return [
        connected("postgresql.connection", f"PostgreSQL {facts.version}{tls}", facts.round_trip_s),
        _version(facts),
        _writable(facts),
        _connections(facts, settings),
        clock("postgresql.clock", facts.now, facts.asked_at),
        _migrations(facts.applied),
        _privileges(facts),
    ]


def _version(facts: DatabaseFacts) -> Finding:
    found = re.match(r"\d+", facts.version)
    if found and int(found[0]) < OLDEST_VERSION:
        remedy = f"upgrade to PostgreSQL {OLDEST_VERSION} or later; 18 is what the tests run on"
        return warn("postgresql.version", facts.version, remedy)
    return ok("postgresql.version", facts.version)


def _writable(facts: DatabaseFacts) -> Finding:
    if facts.read_only:
        return fail("postgresql.writable", "a standby, or read-only", "set the address of the primary in DATABASE_URL")
    return ok("postgresql.writable", "accepts writes")


def _connections(facts: DatabaseFacts, settings: Settings) -> Finding:
    detail = f"{facts.connections} of {facts.connections_max} in use"
    if facts.connections_max - facts.connections < settings.db_pool_max:
        remedy = f"a process opens up to {settings.db_pool_max}: lower DB_POOL_MAX, or raise max_connections"
        return warn("postgresql.connections", detail, remedy)
    return ok("postgresql.connections", detail)


def _migrations(applied: Mapping[str, str] | None) -> Finding:
    name = "postgresql.migrations"
    if applied is None:
        return fail(
            name, "the table migrations.applied does not exist or cannot be read", "run `gengui-stream migrate`"
        )
    try:
        missing, unknown = unapplied_migrations(applied)
    except ConfigurationError as error:
        return fail(name, "; ".join(error.faults), "restore the applied version of the file")
    if missing:
        return fail(name, f"not applied: {', '.join(missing)}", "run `gengui-stream migrate`")
    if unknown:
        remedy = "this version is older than the one that migrated: upgrade it"
        return warn(name, f"applied, but unknown to this version: {', '.join(unknown)}", remedy)
    return ok(name, f"all {len(applied)} applied")


def _privileges(facts: DatabaseFacts) -> Finding:
    if facts.missing_privileges:
        shown = ", ".join(facts.missing_privileges[:6])
        more = len(facts.missing_privileges) - 6
        detail = f"missing: {shown}{f' and {more} more' if more > 0 else ''}"
        remedy = (
            "GRANT USAGE ON SCHEMA accounts, jobs, projections TO the user, and SELECT, INSERT, UPDATE, DELETE "
            "ON ALL TABLES IN SCHEMA accounts, jobs, projections"
        )
        return fail("postgresql.privileges", detail, remedy)
    return ok("postgresql.privileges", "the user may read and write every table")
