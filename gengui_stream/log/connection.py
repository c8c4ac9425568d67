"""The connection settings that every Kafka client shares: addresses, SASL and TLS."""

import asyncio
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, TypedDict

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from gengui_stream.errors import ConfigurationError, TransientError, is_closed_connection, reason
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.url_checks import load_own_certificate
from gengui_stream.tls.refusals import KAFKA, refusal

REASON_MS: Final = 3_000

NO_REASON: Final = (KafkaConnectionError, KafkaTimeoutError)

METADATA_MAX_AGE_MS: Final = 3_000
"""How soon a client learns that another broker leads a partition while the old one does not answer. aiokafka asks every
five minutes."""

ANSWER_S: Final = 4.0
"""For a connection with all that it begins with, and for a request that a broker answers from its memory. aiokafka
waits for its request time-out, 40 s, before it turns to another broker."""

PROMPT_REQUESTS: Final = (
    ApiVersionRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    InitProducerIdRequest,
    MetadataRequest,
    OffsetRequest,
)


class Security(TypedDict):
    """Keyword arguments of a connection of aiokafka."""

    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


class Connection(Security):
    """Keyword arguments of aiokafka's producer, consumer and admin client."""

    bootstrap_servers: list[str]
    metadata_max_age_ms: int


async def no_broker(settings: Settings, error: KafkaError | OSError) -> TransientError:
    """With the addresses, once: aiokafka repeats them when none of them answers. It also hides why: where that may be
    TLS or the password, this connects again."""
    silent = isinstance(error, KafkaConnectionError) and "bootstrap" in str(error)
    if silent and settings.kafka_security_protocol != "PLAINTEXT":
        reasons = await asyncio.gather(*(_refused(address, settings) for address in addresses(settings)))
        if found := next(filter(None, reasons), None):
            return found
    why = "" if silent else f": {error if isinstance(error, KafkaError) else reason(error)}"
    return TransientError(f"no broker at {settings.kafka_bootstrap_servers}{why}")


def addresses(settings: Settings) -> list[str]:
    """`host:port` of each broker of the settings."""
    return [address.strip() for address in settings.kafka_bootstrap_servers.split(",")]


async def _refused(address: str, settings: Settings) -> TransientError | None:
    """None: it is unavailable, or accepts the connection."""
    host, _, port = address.rpartition(":")
    try:
        opened = await conn.create_conn(
            host.strip("[]"), int(port), request_timeout_ms=REASON_MS, **_security(settings)
        )
    except (KafkaError, OSError) as error:
        found = refusal(error, f"no broker at {address}", KAFKA)
        if found is None and isinstance(error, KafkaError) and not isinstance(error, NO_REASON):
            return TransientError(f"no broker at {address}: {error}")
        return found
    opened.close()
    return None


def connection(settings: Settings) -> Connection:
    """Raises ConfigurationError when KAFKA_CA_FILE or KAFKA_CERT_FILE has no certificate. From now on the connections
    of this process are BrokerConnections."""
    vars(conn).update(AIOKafkaConnection=BrokerConnection)
    return Connection(
        bootstrap_servers=addresses(settings), metadata_max_age_ms=METADATA_MAX_AGE_MS, **_security(settings)
    )


def _security(settings: Settings) -> Security:
    password = settings.kafka_sasl_password
    return Security(
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
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError([f"KAFKA_CA_FILE: no certificates can be read from it: {error}"]) from error
    if settings.kafka_cert_file is not None:
        _add_own_certificate(context, settings.kafka_cert_file, settings)
    return context


def _add_own_certificate(context: ssl.SSLContext, certificate: Path, settings: Settings) -> None:
    key, password = settings.kafka_key_file, settings.kafka_key_password
    secret = password.get_secret_value() if password else ""
    try:
        load_own_certificate(str(certificate), str(key) if key else None, secret, context)
    except (OSError, ValueError) as error:
        fault = "KAFKA_CERT_FILE, KAFKA_KEY_FILE, KAFKA_KEY_PASSWORD: no certificate with its key, or another password"
        raise ConfigurationError([fault]) from error


class BrokerConnection(conn.AIOKafkaConnection):
    """Corrects two faults of aiokafka's.

    It takes only an OSError of a write for a broken connection. uvloop raises RuntimeError where the connection has
    ended and the reader does not know it yet: it would end the client's background tasks.

    It waits for a broker that does not answer, while another one leads its partitions and coordinates its groups by
    then. `connect` and PROMPT_REQUESTS raise TimeoutError after ANSWER_S.
    """

    async def connect(self) -> object:
        async with asyncio.timeout(ANSWER_S):
            return await super().connect()

    def send(self, request: object, expect_response: bool = True) -> Awaitable[object]:
        try:
            answer = super().send(request, expect_response)
        except RuntimeError as error:
            self._check_open(error)
            raise
        return _promptly(answer) if isinstance(request, PROMPT_REQUESTS) else answer

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Awaitable[object]:
        try:
            return super()._send_sasl_token(payload, expect_response)
        except RuntimeError as error:
            self._check_open(error)
            raise

    def _check_open(self, error: RuntimeError) -> None:
        if is_closed_connection(error):
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"the connection to {self.host}:{self.port} is broken: {error}") from error


async def _promptly(answer: Awaitable[object]) -> object:
    async with asyncio.timeout(ANSWER_S):
        return await answer
