"""Redis over TLS: verified, or refused with what to set."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gengui_stream.errors import TlsError, TransientError
from gengui_stream.redis_io.clients import opened_client, transient_errors
from gengui_stream.settings import Settings, load_settings
from tests.integration.doctor.doctoring import examined
from tests.integration.tls import refusals
from tests.integration.tls.certificates import OTHER_HOST, Certificates
from tests.integration.tls.refusals import Refused, check_doctor, check_refusal
from tests.integration.tls.servers.redis import RedisWithTls


def given(url: str, ca: Path | None = None) -> Settings:
    environ: Mapping[str, str] = {"REDIS_CA_FILE": str(ca)} if ca else {}
    return load_settings({"REDIS_URL": url, **environ}, env_files=())


async def ping(settings: Settings) -> bool:
    async with opened_client(settings) as redis:
        with transient_errors():
            return bool(await redis.ping())


async def test_it_is_verified_by_its_ca(
    redis: RedisWithTls, asking_redis: RedisWithTls, certificates: Certificates
) -> None:
    client = certificates.client
    own = f"?ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
    for settings in (
        given(redis.url(), certificates.ca),
        given(redis.url(f"?ssl_ca_certs={certificates.ca}")),
        given(redis.url("?ssl_cert_reqs=none", host=OTHER_HOST)),
        given(asking_redis.url(own), certificates.ca),
    ):
        assert await ping(settings), settings.redis_dsn


async def test_what_is_not_trusted_is_refused(
    redis: RedisWithTls, expired_redis: RedisWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    ca = "set REDIS_CA_FILE to a PEM file with the CA of the server's certificate"
    for settings, expected in (
        (given(redis.url(), certificates.other_ca), Refused(refusals.UNKNOWN_CA, ca)),
        (given(redis.url()), Refused(refusals.UNKNOWN_CA, ca)),
        (
            given(redis.url(host=OTHER_HOST), certificates.ca),
            Refused(refusals.OTHER_HOST, "set REDIS_URL to a name in the server's certificate"),
        ),
        (
            given(expired_redis.url(), certificates.ca),
            Refused(refusals.EXPIRED, "renew the server's certificate"),
        ),
    ):
        with pytest.raises(TlsError) as raised:
            await ping(settings)
        check_refusal(raised, expected)
        await check_doctor(settings, tmp_path, "redis", "redis.connection", expected)


async def test_a_missing_certificate_of_the_client_is_named_by_the_doctor(
    asking_redis: RedisWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    """Redis closes the connection as a server does that ends: most of the time its alert is lost."""
    settings = given(asking_redis.url(), certificates.ca)
    with pytest.raises(TransientError):
        await ping(settings)
    found = (await examined(settings, tmp_path, "redis"))["redis.connection"]
    assert found.status == "fail"
    assert str(found.remedy).startswith("set ssl_certfile and ssl_keyfile in REDIS_URL")


async def test_what_a_url_does_not_verify_is_a_warning(
    redis: RedisWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    found = await examined(given(redis.url("?ssl_cert_reqs=none")), tmp_path, "redis", "tls")
    assert (found["redis.connection"].status, found["redis.tls"].status) == ("ok", "warn")
    found = await examined(given(redis.url(), certificates.ca), tmp_path, "tls")
    assert found["redis.tls"].status == "ok"
