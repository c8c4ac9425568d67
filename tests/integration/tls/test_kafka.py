"""Kafka over TLS: verified both ways and by SCRAM, or refused with what to set."""

import uuid
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.errors import TlsError, TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import check_topic, ensure_topic
from gengui_stream.settings import Settings, load_settings
from tests.integration.doctor.doctoring import examined
from tests.integration.running import a_request, logged
from tests.integration.tls import refusals
from tests.integration.tls.certificates import OTHER_HOST, PASSWORD, Certificates
from tests.integration.tls.refusals import Refused, check_doctor, check_refusal
from tests.integration.tls.servers.kafka import PASSWORD as SCRAM_PASSWORD
from tests.integration.tls.servers.kafka import PROTOCOLS, USER, KafkaWithTls, Listener

UNKNOWN_CA: Final = Refused(
    refusals.UNKNOWN_CA, "set KAFKA_CA_FILE to a PEM file with the CA of the server's certificate"
)
OTHER: Final = Refused(refusals.OTHER_HOST, "set KAFKA_BOOTSTRAP_SERVERS to a name in the server's certificate")
ENDED: Final = Refused(refusals.EXPIRED, "renew the server's certificate")
NO_CERTIFICATE: Final = Refused("TLS: ", "set KAFKA_CERT_FILE and KAFKA_KEY_FILE")


def given(kafka: KafkaWithTls, listener: Listener, ca: Path, host: str = "localhost", **others: str) -> Settings:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.address(listener, host),
        "KAFKA_SECURITY_PROTOCOL": PROTOCOLS[listener],
        "KAFKA_CA_FILE": str(ca),
        "EVENTS_TOPIC": f"t{uuid.uuid4().hex[:16]}",
        "EVENTS_PARTITIONS": "1",
        **(SCRAM if listener == "SCRAM" else {}),
        **others,
    }
    return load_settings(environ, env_files=())


SCRAM: Final = {
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": USER,
    "KAFKA_SASL_PASSWORD": SCRAM_PASSWORD,
}


def own_certificate(certificates: Certificates) -> dict[str, str]:
    return {
        "KAFKA_CERT_FILE": str(certificates.client.certificate),
        "KAFKA_KEY_FILE": str(certificates.encrypted_key),
        "KAFKA_KEY_PASSWORD": PASSWORD,
    }


@pytest.mark.parametrize("listener", ["TLS", "MTLS", "SCRAM"])
async def test_events_are_appended_and_read(
    listener: Listener, kafka: KafkaWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    own = own_certificate(certificates) if listener == "MTLS" else {}
    settings, request = given(kafka, listener, certificates.ca, **own), a_request()
    await ensure_topic(settings)
    async with EventLog(settings) as log:
        await log.append(request)
    assert [event.id for event in await logged(settings)] == [request.id]
    found = await examined(settings, tmp_path, "kafka", "tls")
    assert (found["kafka.connection"].status, found["kafka.tls"].status) == ("ok", "ok")
    assert ("kafka.client_certificate" in found) == (listener == "MTLS")


async def test_what_is_not_trusted_is_refused(kafka: KafkaWithTls, certificates: Certificates, tmp_path: Path) -> None:
    for settings, expected in (
        (given(kafka, "TLS", certificates.other_ca), UNKNOWN_CA),
        (given(kafka, "SCRAM", certificates.other_ca), UNKNOWN_CA),
        (given(kafka, "TLS", certificates.ca, OTHER_HOST), OTHER),
        (given(kafka, "EXPIRED", certificates.ca), ENDED),
    ):
        with pytest.raises(TlsError) as raised:
            await check_topic(settings)
        check_refusal(raised, expected)
        await check_doctor(settings, tmp_path, "kafka", "kafka.connection", expected)


async def test_producer_and_reader_say_it_too(kafka: KafkaWithTls, certificates: Certificates) -> None:
    settings = given(kafka, "TLS", certificates.other_ca)
    with pytest.raises(TlsError) as raised:
        async with EventLog(settings):
            pass
    check_refusal(raised, UNKNOWN_CA)
    with pytest.raises(TlsError) as raised:
        await logged(settings)
    check_refusal(raised, UNKNOWN_CA)


async def test_a_missing_certificate_of_the_client_is_named(
    kafka: KafkaWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    settings = given(kafka, "MTLS", certificates.ca)
    with pytest.raises(TlsError) as raised:
        await check_topic(settings)
    check_refusal(raised, NO_CERTIFICATE)
    found = (await examined(settings, tmp_path, "kafka"))["kafka.connection"]
    assert NO_CERTIFICATE.remedy in str(found.remedy)


async def test_a_wrong_password_is_named(kafka: KafkaWithTls, certificates: Certificates, tmp_path: Path) -> None:
    settings = given(kafka, "SCRAM", certificates.ca, KAFKA_SASL_PASSWORD="wrong")
    with pytest.raises(TransientError, match="Authentication") as raised:
        await check_topic(settings)
    assert not isinstance(raised.value, TlsError)
    found = (await examined(settings, tmp_path, "kafka"))["kafka.connection"]
    assert found.remedy == "correct KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
