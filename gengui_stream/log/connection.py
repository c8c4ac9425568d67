"""The connection settings that every Kafka client shares: addresses, SASL and TLS."""

import ssl
from typing import TypedDict

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import Settings


class Connection(TypedDict):
    """Keyword arguments of aiokafka's producer, consumer and admin client."""

    bootstrap_servers: list[str]
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


def connection(settings: Settings) -> Connection:
    """Raises ConfigurationError when KAFKA_CA_FILE holds no certificates."""
    password = settings.kafka_sasl_password
    return Connection(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        security_protocol=settings.kafka_security_protocol,
        ssl_context=_tls(settings),
        sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        sasl_plain_username=settings.kafka_sasl_username,
        sasl_plain_password=password.get_secret_value() if password else None,
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError([f"KAFKA_CA_FILE: no certificates can be read from it: {error}"]) from error
