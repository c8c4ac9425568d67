"""Faults of combinations of settings."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gengui_stream.settings.model import Settings

PROVIDER_NAME: Final = re.compile(r"[a-z0-9_-]{1,100}")
PROVIDER_NEEDS: Final[Mapping[str, Sequence[str]]] = {
    "local": (),
    "gemini": ("gemini_api_key",),
    "runpod": ("runpod_api_key", "runpod_endpoint_id"),
}
"""The settings without which a provider is not opened."""


def faults_together(texts: Mapping[str, str]) -> list[str]:
    """Also finds faults when single settings are invalid. `texts`: by field name."""
    faults: list[str] = []
    sasl = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    if texts.get("kafka_security_protocol", "").startswith("SASL") and not all(map(texts.get, sasl)):
        faults.append(f"{', '.join(sasl).upper()}: needed with a SASL protocol")
    session, heartbeat = (_number(texts, f"kafka_{name}_s") for name in ("session_timeout", "heartbeat_interval"))
    if session is not None and heartbeat is not None and heartbeat > session / 3:
        faults.append(f"KAFKA_HEARTBEAT_INTERVAL_S: at most a third of KAFKA_SESSION_TIMEOUT_S, which is {session:g}")
    if texts.get("growthbook_api_host") and not texts.get("growthbook_client_key"):
        faults.append("GROWTHBOOK_CLIENT_KEY: needed with GROWTHBOOK_API_HOST")
    for pair in (("runpod_api_key", "runpod_endpoint_id"), ("aws_access_key_id", "aws_secret_access_key")):
        for given, other in itertools.permutations(pair):
            if texts.get(given) and not texts.get(other):
                faults.append(f"{other.upper()}: needed with {given.upper()}")
    faults += _provider_faults(texts)
    http = ("worker_api_url", "worker_api_key")
    if texts.get("worker_transport") == "http" and not all(map(texts.get, http)):
        faults.append(f"{', '.join(http).upper()}: needed with WORKER_TRANSPORT=http")
    return faults


def _provider_faults(texts: Mapping[str, str]) -> Iterator[str]:
    """A request that names no provider would otherwise be refused for a provider that the client did not name."""
    for setting in ("default_provider", "provider_fallbacks"):
        named = texts.get(setting) or str(Settings.model_fields[setting].default)
        for name in dict.fromkeys(filter(PROVIDER_NAME.fullmatch, named.split(","))):
            if name not in PROVIDER_NEEDS:
                yield f"{setting.upper()}: there is no provider {name[:50]!r}; there are: {', '.join(PROVIDER_NEEDS)}"
            elif lacking := [need.upper() for need in PROVIDER_NEEDS[name] if not texts.get(need)]:
                yield f"{setting.upper()}: the provider {name} needs {', '.join(lacking)}"


def _number(texts: Mapping[str, str], name: str) -> float | None:
    """The setting or its default; None for a value that is not a number, which is another fault."""
    try:
        return float(texts.get(name) or Settings.model_fields[name].default)
    except ValueError:
        return None
