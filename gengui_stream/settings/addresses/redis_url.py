"""Redis URLs as users paste them: each parameter is used, known to have no effect here, or refused.

The URLs are those of redis-py (`Redis.from_url`), and of Valkey, whose schemes mean the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from gengui_stream.settings.addresses.url_checks import (
    PORT_FORM,
    check_files,
    check_login,
    check_own_certificate,
    check_trusted,
    parameters_of,
)

SCHEMES: Final[Mapping[str, str]] = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}

USED: Final = frozenset({"db", "username", "password", "client_name"})
OF_TLS: Final = frozenset(
    {
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_check_hostname",
        "ssl_password",
    }
)
WITHOUT_EFFECT: Final = frozenset(
    {
        *("socket_timeout", "socket_connect_timeout", "socket_read_size", "socket_keepalive", "timeout"),
        *("retry_on_timeout", "max_connections", "health_check_interval", "protocol", "decode_responses", "encoding"),
        *("legacy_responses", "family", "lib_name", "lib_version", "encoding_errors"),
    }
)
"""The roles choose these."""

CERT_REQS: Final = ("none", "optional", "required")
FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def parse_redis_url(text: str) -> str:
    """The URL, with its password, as redis-py reads it. Raises ValueError, without the password, for what cannot be
    used."""
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in SCHEMES)}")
    _check_place(parts)
    given = parameters_of(parts)
    scheme = SCHEMES[parts.scheme]
    known = USED | WITHOUT_EFFECT | (OF_TLS if scheme == "rediss" else frozenset())
    if unknown := sorted(given.keys() - known):
        raise ValueError("; ".join(_refusal(name) for name in unknown))
    used = {name: value for name, value in given.items() if name in USED | OF_TLS and value}
    _check_values(used)
    query = urlencode({name: _as_read(name, value) for name, value in used.items()}, safe="/", quote_via=quote)
    return parts._replace(scheme=scheme, query=query).geturl()


def with_redis_ca(url: str, ca_file: Path | None) -> str:
    """The server is verified by this CA, unless the URL has CAs of its own."""
    parts = urlsplit(url)
    given = parameters_of(parts)
    if ca_file is None or parts.scheme != "rediss" or given.keys() & {"ssl_ca_certs", "ssl_ca_path"}:
        return url
    query = urlencode({**given, "ssl_ca_certs": str(ca_file)}, safe="/", quote_via=quote)
    return parts._replace(query=query).geturl()


def _check_place(parts: SplitResult) -> None:
    check_login(parts)
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(f"{PORT_FORM}; an IPv6 address is in brackets") from None
    if port == 0:
        raise ValueError(PORT_FORM)
    if host and "," in host:
        raise ValueError("one host only: clusters and sentinels are not supported; use the address of the primary")
    if parts.scheme == "unix":
        return
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("its path must be the number of a database, as in redis://host:6379/0")


def _refusal(name: str) -> str:
    if name in OF_TLS:
        return f"its parameter {name!r} is for TLS: begin the URL with rediss://"
    return f"its parameter {name[:50]!r} cannot be used: leave it out"


def _check_values(used: Mapping[str, str]) -> None:
    if not used.get("db", "0").isdecimal():
        raise ValueError("its db must be the number of a database")
    if (wanted := used.get("ssl_cert_reqs")) is not None and wanted.lower().removeprefix("cert_") not in CERT_REQS:
        raise ValueError(f"its ssl_cert_reqs must be one of {', '.join(CERT_REQS)}")
    check_files(used, FILES)
    check_trusted(used, ("ssl_ca_certs",))
    check_own_certificate(used, "ssl_certfile", "ssl_keyfile", "ssl_password")


def _as_read(name: str, value: str) -> str:
    """`CERT_NONE` is what other clients of Python write."""
    return value.lower().removeprefix("cert_") if name == "ssl_cert_reqs" else value
