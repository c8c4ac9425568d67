"""PostgreSQL URLs as users paste them: each parameter is used, known to have no effect here, or refused.

The names are libpq's (PostgreSQL 17, 32.1.2 Parameter Key Words) and those that hosted services add.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from gengui_stream.settings.addresses.url_checks import (
    PORT_FORM,
    TRUE,
    check_files,
    check_login,
    check_own_certificate,
    check_trusted,
    is_port,
    parameters_of,
)

READ_BY_ASYNCPG: Final = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "database", "passfile", "service", "target_session_attrs"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib", "options"),
    }
)

WITHOUT_EFFECT: Final = frozenset(
    {
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("fallback_application_name", "load_balance_hosts", "sslcompression", "sslsni", "gssdelegation"),
        *("min_protocol_version", "max_protocol_version"),
        *("connection_limit", "pool_timeout", "pool_size", "statement_cache_size", "uselibpqcompat"),
    }
)
"""They tune a connection, or the pool of another client."""

ONLY_AS: Final[Mapping[str, frozenset[str]]] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8", "unicode"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "require_auth": frozenset({""}),
    "sslcertmode": frozenset({"allow", "disable"}),
}
"""With these values they ask for what happens anyway."""

INSTEAD: Final[Mapping[str, str]] = {
    "channel_binding": "leave it out, and use sslmode=verify-full",
    "currentschema": "leave it out: the tables are in schemas of their own",
    "hostaddr": "give the address as the host",
    "schema": "leave it out: the tables are in schemas of their own",
    "search_path": "leave it out: the tables are in schemas of their own",
}

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILES: Final = ("sslcert", "sslkey", "sslrootcert", "sslcrl", "passfile")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """`url`: with the parameters that asyncpg reads, and the password. `connect_timeout_s`: None when the URL has none.
    `pooled`: a pooler in transaction mode is in between."""

    url: str
    application_name: str | None = None
    connect_timeout_s: float | None = None
    pooled: bool = False


def parse_database_url(text: str) -> DatabaseAddress:
    """Raises ValueError, without the password, for what cannot be used."""
    parts = urlsplit(text)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql:// or postgres://")
    check_login(parts)
    _check_hosts(parts)
    given = parameters_of(parts)
    _check_known(given)
    read = {name: value for name, value in given.items() if name in READ_BY_ASYNCPG and value}
    if given.get("ssl", "").lower() in TRUE:
        read.setdefault("sslmode", "require")
    if read.get("sslrootcert") == "system":
        read.setdefault("sslmode", "verify-full")
    _check_values(read)
    return DatabaseAddress(
        url=parts._replace(query=_query(read)).geturl(),
        application_name=given.get("application_name") or None,
        connect_timeout_s=_seconds(given.get("connect_timeout", "")),
        pooled=given.get("pgbouncer", "").lower() in TRUE,
    )


def with_ca(address: DatabaseAddress, ca_file: Path | None) -> DatabaseAddress:
    """The server is verified by this CA, unless the URL has a mode or CAs of its own."""
    if ca_file is None:
        return address
    parts = urlsplit(address.url)
    query = {**_verifying(ca_file), **parameters_of(parts)}
    return replace(address, url=parts._replace(query=_query(query)).geturl())


def address_of_parts(
    host: str, port: int, name: str, user: str, password: str | None, *, ssl: bool, ca_file: Path | None = None
) -> str:
    """The URL of the settings DB_*. `host`: a name, an IPv4 or IPv6 address, or the directory of a socket. `ssl`: the
    server is verified, by `ca_file` or by the system's CAs."""
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    path, query = quote(name, safe=""), _verifying(ca_file) if ssl else {}
    if host.startswith("/"):
        return f"postgresql://{login}@/{path}?{_query({'host': host, 'port': str(port), **query})}"
    where = f"[{host.strip('[]')}]" if ":" in host else host
    return f"postgresql://{login}@{where}:{port}/{path}" + (f"?{_query(query)}" if query else "")


def _verifying(ca_file: Path | None) -> dict[str, str]:
    return {"sslmode": "verify-full", "sslrootcert": "system" if ca_file is None else str(ca_file)}


def _query(parameters: Mapping[str, str]) -> str:
    return urlencode(parameters, safe="/,:", quote_via=quote)


def _check_hosts(parts: SplitResult) -> None:
    for host in filter(None, parts.netloc.rpartition("@")[2].split(",")):
        name, _, port = host.rpartition(":") if re.search(r":\d*$|^[^\[:]*:[^:]*$", host) else (host, "", "")
        if name.count(":") and not re.fullmatch(r"\[[0-9A-Fa-f:.%]+\]", name):
            raise ValueError("write an IPv6 address in brackets, as in [::1]:5432")
        if port and not is_port(port):
            raise ValueError(PORT_FORM)


def _check_known(given: Mapping[str, str]) -> None:
    known = READ_BY_ASYNCPG | WITHOUT_EFFECT | {"application_name", "connect_timeout", "pgbouncer", "ssl"}
    faults = [_refusal(name) for name, value in given.items() if name not in known and not _happens_anyway(name, value)]
    if faults:
        raise ValueError("; ".join(faults))


def _happens_anyway(name: str, value: str) -> bool:
    return value.lower() in ONLY_AS.get(name, ())


def _refusal(name: str) -> str:
    if (instead := INSTEAD.get(name)) is not None:
        return f"its parameter {name!r} cannot be used: {instead}"
    named = f"its parameter {name[:50]!r} cannot be used"
    return f"{named}: leave it out, or give a setting of the server as options=-c name=value"


def _check_values(read: Mapping[str, str]) -> None:
    if (mode := read.get("sslmode")) is not None and mode not in SSL_MODES:
        raise ValueError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
    if read.get("sslrootcert") == "system" and mode != "verify-full":
        raise ValueError("its sslrootcert=system needs sslmode=verify-full")
    check_files(read, (name for name in FILES if read.get(name) != "system"))
    check_trusted(read, (name for name in ("sslrootcert", "sslcrl") if read.get(name) != "system"))
    check_own_certificate(read, "sslcert", "sslkey", "sslpassword")
    ports = read.get("port", "")
    if ports and not all(map(is_port, ports.split(","))):
        raise ValueError(PORT_FORM)


def _seconds(text: str) -> float | None:
    """0, a negative number and none at all mean no limit to libpq; here the setting applies."""
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,6}", text):
        raise ValueError("its connect_timeout must be a whole number of seconds")
    return float(text) if int(text) > 0 else None
