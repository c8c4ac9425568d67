"""Faults of settings that need one another."""

import itertools
from collections.abc import Mapping


def faults_together(texts: Mapping[str, str]) -> list[str]:
    """Found whether or not each setting is valid by itself. `texts`: by field name."""
    faults: list[str] = []
    sasl = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    if texts.get("kafka_security_protocol", "").startswith("SASL") and not all(map(texts.get, sasl)):
        faults.append(f"{', '.join(sasl).upper()}: needed with a SASL protocol")
    if texts.get("growthbook_api_host") and not texts.get("growthbook_client_key"):
        faults.append("GROWTHBOOK_CLIENT_KEY: needed with GROWTHBOOK_API_HOST")
    for given, other in itertools.permutations(("runpod_api_key", "runpod_endpoint_id")):
        if texts.get(given) and not texts.get(other):
            faults.append(f"{other.upper()}: needed with {given.upper()}")
    http = ("worker_api_url", "worker_api_key")
    if texts.get("worker_transport") == "http" and not all(map(texts.get, http)):
        faults.append(f"{', '.join(http).upper()}: needed with WORKER_TRANSPORT=http")
    return faults
