"""Faults of combinations of settings."""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gengui_stream.domain.prices import PriceList, parse_prices
from gengui_stream.settings.addresses.url_checks import TRUE, load_own_certificate
from gengui_stream.settings.model import Settings

PROVIDER_NAME: Final = re.compile(r"[a-z0-9_-]{1,100}")
PROVIDER_NEEDS: Final[Mapping[str, Sequence[str]]] = {
    "local": (),
    "gemini": ("gemini_api_key",),
    "runpod": ("runpod_api_key", "runpod_endpoint_id"),
}
"""The settings without which a provider is not opened."""

PAIRS: Final = (
    ("runpod_api_key", "runpod_endpoint_id"),
    ("aws_access_key_id", "aws_secret_access_key"),
    ("smtp_user", "smtp_password"),
)
"""Each is of no use without the other."""


UNKNOWN: Final = "?"
TLS_SCHEMES: Final = ("rediss://", "valkeys://")


def faults_together(texts: Mapping[str, str], unknown: Collection[str] = ()) -> list[str]:
    """Also finds faults when single settings are invalid. `texts`: by field name. `unknown`: fields set to what could
    not be read."""
    known = {**dict.fromkeys(unknown, UNKNOWN), **texts}
    faults = [*_kafka_faults(texts, known), *_tls_faults(texts, known), *_own_certificate_faults(texts, unknown)]
    if texts.get("growthbook_api_host") and not texts.get("growthbook_client_key"):
        faults.append("GROWTHBOOK_CLIENT_KEY: needed with GROWTHBOOK_API_HOST")
    if texts.get("smtp_user") and texts.get("smtp_tls") == "none":
        faults.append("SMTP_TLS: not none with SMTP_USER: the password would be sent unencrypted")
    for pair in PAIRS:
        for given, other in itertools.permutations(pair):
            if texts.get(given) and not known.get(other):
                faults.append(f"{other.upper()}: needed with {given.upper()}")
    faults += _provider_faults(known)
    faults += _price_faults(texts.get("prices", ""))
    http = ("worker_api_url", "worker_api_key")
    if texts.get("worker_transport") == "http" and not all(map(known.get, http)):
        faults.append(f"{', '.join(http).upper()}: needed with WORKER_TRANSPORT=http")
    return faults


def _kafka_faults(texts: Mapping[str, str], known: Mapping[str, str]) -> Iterator[str]:
    sasl = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    if texts.get("kafka_security_protocol", "").startswith("SASL") and not all(map(known.get, sasl)):
        yield f"{', '.join(sasl).upper()}: needed with a SASL protocol"
    session, heartbeat = (_number(texts, f"kafka_{name}_s") for name in ("session_timeout", "heartbeat_interval"))
    if session is not None and heartbeat is not None and heartbeat > session / 3:
        yield f"KAFKA_HEARTBEAT_INTERVAL_S: at most a third of KAFKA_SESSION_TIMEOUT_S, which is {session:g}"


def _tls_faults(texts: Mapping[str, str], known: Mapping[str, str]) -> Iterator[str]:
    """A certificate without TLS would make a connection look safe."""
    for name in ("kafka_ca_file", "kafka_cert_file"):
        if texts.get(name) and not texts.get("kafka_security_protocol", "").endswith("SSL"):
            yield f"KAFKA_SECURITY_PROTOCOL: must be SSL or SASL_SSL with {name.upper()}"
    if texts.get("db_ca_file") and not known.get("database_url") and not _true(texts, "db_ssl"):
        yield "DB_SSL: must be true with DB_CA_FILE"
    if texts.get("redis_ca_file") and not known.get("redis_url", "").startswith((*TLS_SCHEMES, UNKNOWN)):
        yield "REDIS_URL: must begin with rediss:// with REDIS_CA_FILE"
    if texts.get("s3_ca_file") and texts.get("s3_endpoint", "").startswith("http://"):
        yield "S3_ENDPOINT: must begin with https:// with S3_CA_FILE"


def _own_certificate_faults(texts: Mapping[str, str], unknown: Collection[str]) -> Iterator[str]:
    """The key may be in the file of the certificate."""
    names = ("kafka_cert_file", "kafka_key_file", "kafka_key_password")
    certificate, key, password = names
    if texts.get(key) and not texts.get(certificate):
        yield "KAFKA_CERT_FILE: needed with KAFKA_KEY_FILE"
    files = [texts[name] for name in (certificate, key) if name in texts]
    if certificate not in texts or password in unknown or not all(Path(file).is_file() for file in files):
        return
    try:
        load_own_certificate(texts[certificate], texts.get(key), texts.get(password, ""))
    except (OSError, ValueError):
        yield f"{', '.join(names).upper()}: no certificate with its key, or another password"


def _provider_faults(texts: Mapping[str, str]) -> Iterator[str]:
    """A request that names no provider would otherwise be refused for a provider that the client did not name."""
    for setting in ("default_provider", "provider_fallbacks"):
        named = texts.get(setting) or str(Settings.model_fields[setting].default)
        for name in dict.fromkeys(filter(PROVIDER_NAME.fullmatch, named.split(","))):
            if name not in PROVIDER_NEEDS:
                yield f"{setting.upper()}: there is no provider {name[:50]!r}; there are: {', '.join(PROVIDER_NEEDS)}"
            elif lacking := [need.upper() for need in PROVIDER_NEEDS[name] if not texts.get(need)]:
                yield f"{setting.upper()}: the provider {name} needs {', '.join(lacking)}"


def _price_faults(text: str) -> Iterator[str]:
    """A price of a misspelled provider would count for nothing."""
    try:
        known = parse_prices(text)
    except ValueError:  # another fault
        known = PriceList()
    for name in sorted({price.provider for price in known.prices} - PROVIDER_NEEDS.keys()):
        yield f"PRICES: there is no provider {name[:50]!r}; there are: {', '.join(PROVIDER_NEEDS)}"


def _number(texts: Mapping[str, str], name: str) -> float | None:
    """The setting or its default; None for a value that is not a number, which is another fault."""
    try:
        return float(texts.get(name) or Settings.model_fields[name].default)
    except ValueError:
        return None


def _true(texts: Mapping[str, str], name: str) -> bool:
    return texts.get(name, "").lower() in TRUE
