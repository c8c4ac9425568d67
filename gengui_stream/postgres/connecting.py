"""Connections to PostgreSQL, directly or through a pooler in transaction mode (PgBouncer and its hosted relatives).

Such a pooler gives each transaction any of its sessions, so no prepared statement, setting or lock of a session can be
relied on. Without a cache of statements asyncpg prepares and executes each in one transaction.
"""

from collections.abc import Mapping
from ssl import SSLContext, create_default_context
from typing import Final, TypedDict
from urllib.parse import urlsplit

from gengui_stream.settings.addresses.database_url import DatabaseAddress
from gengui_stream.settings.addresses.url_checks import load_own_certificate, parameters_of

CACHED_STATEMENTS: Final = 100
"""asyncpg's own default."""

APPLICATION: Final = "gengui-stream"

SERVER_SETTINGS: Final = {
    "application_name": APPLICATION,
    "timezone": "UTC",
    "jit": "off",
    # A paused process would otherwise keep rows of its partitions locked while their next owner needs them.
    "idle_in_transaction_session_timeout": "5s",
}

OF_POOLERS: Final = frozenset({"application_name", "timezone"})
"""The only ones of these that PgBouncer passes on (`ignore_startup_parameters` in its documentation)."""

POOLER_FOUND: Final = (
    "a pooler in transaction mode is in front of PostgreSQL: set DB_POOLING=transaction (docs/deployment.md)"
)


class ConnectArguments(TypedDict):
    """The arguments that `asyncpg.connect` and `asyncpg.create_pool` share. `timeout`: in seconds."""

    dsn: str
    timeout: float
    server_settings: dict[str, str]
    statement_cache_size: int
    ssl: SSLContext | None


def connect_arguments(
    address: DatabaseAddress, *, timeout_s: float, server_settings: Mapping[str, str] = SERVER_SETTINGS
) -> ConnectArguments:
    """The time-out and the application's name in the URL take precedence."""
    wanted = {**server_settings, **({"application_name": address.application_name} if address.application_name else {})}
    if address.pooled:
        wanted = {name: value for name, value in wanted.items() if name in OF_POOLERS}
    return ConnectArguments(
        dsn=address.url,
        timeout=address.connect_timeout_s or timeout_s,
        server_settings=wanted,
        statement_cache_size=0 if address.pooled else CACHED_STATEMENTS,
        ssl=tls_of(address.url),
    )


def tls_of(url: str) -> SSLContext | None:
    """For `sslrootcert=system`, which asyncpg takes for the name of a file. None: asyncpg reads the URL."""
    given = parameters_of(urlsplit(url))
    if given.get("sslrootcert") != "system":
        return None
    context = create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if certificate := given.get("sslcert"):
        load_own_certificate(certificate, given.get("sslkey"), given.get("sslpassword", ""), context)
    return context
