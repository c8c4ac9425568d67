"""Checks that all addresses share. Each raises ValueError with the expected form, and shows no secret."""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl

PORT_FORM: Final = "its port must be a number up to 65535"
TRUE: Final = frozenset({"true", "1", "yes", "on", "y", "t"})
"""As pydantic reads them."""


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65_536


def check_login(parts: SplitResult) -> None:
    """An unescaped character of a password ends the part of the URL that it is in."""
    if parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("write the characters @ / ? # % of a user or password as %40 %2F %3F %23 %25")


def parameters_of(parts: SplitResult) -> dict[str, str]:
    """By name in lower case; empty ones too."""
    return {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def check_files(given: Mapping[str, str], names: Iterable[str]) -> None:
    """The parameters with these names are paths of files."""
    if missing := [name for name in names if name in given and not Path(given[name]).is_file()]:
        raise ValueError("; ".join(f"there is no file {given[name]!r}, its {name}" for name in missing))


def check_trusted(given: Mapping[str, str], names: Iterable[str]) -> None:
    """The parameters with these names are files with certificates, or with revocation lists."""
    for name in (name for name in names if name in given):
        try:
            trusting(given[name])
        except OSError:  # ssl.SSLError is one
            raise ValueError(f"no certificates can be read from {given[name]!r}, its {name}") from None


def trusting(path: str) -> ssl.SSLContext:
    """Raises OSError for a file without certificates or revocation lists."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context


def check_own_certificate(given: Mapping[str, str], certificate: str, key: str, password: str) -> None:
    """The parameters with these names are a certificate of the client and its key, which fit together."""
    if certificate not in given:
        return
    try:
        load_own_certificate(given[certificate], given.get(key), given.get(password, ""))
    except (OSError, ValueError):
        raise ValueError(f"its {certificate}, {key} and {password} are no certificate with its key") from None


def load_own_certificate(
    certificate: str, key: str | None, password: str, context: ssl.SSLContext | None = None
) -> None:
    """Raises OSError or ValueError unless they fit together. Without a password OpenSSL would ask at the terminal."""
    into = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    into.load_cert_chain(certificate, key, password=lambda: password)
