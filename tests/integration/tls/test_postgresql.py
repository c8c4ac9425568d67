"""PostgreSQL over TLS, directly and through PgBouncer: verified, or refused with what to set."""

import asyncio
from pathlib import Path

import pytest

from gengui_stream.errors import TlsError
from gengui_stream.postgres.pool import Pool, open_pool, opened_pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.settings import Settings, load_settings
from tests.integration.doctor.doctoring import examined
from tests.integration.postgres import pgbouncer
from tests.integration.running import eventually
from tests.integration.tls import refusals
from tests.integration.tls.certificates import OTHER_HOST, Certificates
from tests.integration.tls.refusals import Refused, check_doctor, check_refusal
from tests.integration.tls.servers.pooler import pooler_with_tls
from tests.integration.tls.servers.postgresql import CERTIFIED, USER, PostgresqlWithTls

FULL = "?sslmode=verify-full"
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def given(environ: dict[str, str]) -> Settings:
    return load_settings(environ, env_files=())


def by_parts(server: PostgresqlWithTls, host: str = "localhost") -> dict[str, str]:
    address = {"DB_HOST": host, "DB_PORT": str(server.port), "DB_USER": USER, "DB_NAME": "postgres"}
    return {**address, "DB_SSL": "true"}


async def encrypted(settings: Settings) -> bool:
    async with opened_pool(settings, size=1) as pool:
        return bool(await pool.fetchval(ENCRYPTED))


async def test_it_is_verified_by_its_ca(postgresql: PostgresqlWithTls, certificates: Certificates) -> None:
    ca, client = certificates.ca, certificates.client
    own = f"&sslcert={client.certificate}&sslkey={client.key}"
    for environ in (
        {**by_parts(postgresql), "DB_CA_FILE": str(ca)},
        {"DATABASE_URL": postgresql.url(FULL), "DB_CA_FILE": str(ca)},
        {"DATABASE_URL": postgresql.url(), "DB_CA_FILE": str(ca)},
        {"DATABASE_URL": postgresql.url(f"{FULL}&sslrootcert={ca}")},
        {"DATABASE_URL": postgresql.url(f"{FULL}{own}", user=CERTIFIED), "DB_CA_FILE": str(ca)},
    ):
        assert await encrypted(given(environ)), environ


async def test_it_is_verified_by_the_cas_of_the_system(
    postgresql: PostgresqlWithTls, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = certificates.client
    own = f"&sslrootcert=system&sslcert={client.certificate}&sslkey={client.key}"
    by_url = {"DATABASE_URL": postgresql.url(f"{FULL}{own}", user=CERTIFIED)}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    assert await encrypted(given(by_parts(postgresql)))
    assert await encrypted(given(by_url))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other_ca))
    for environ in (by_parts(postgresql), by_url):
        with pytest.raises(TlsError, match="set DB_CA_FILE to a PEM file with the CA"):
            await encrypted(given(environ))


async def test_an_unknown_ca_and_another_host_are_refused(
    postgresql: PostgresqlWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    ca, other_ca = str(certificates.ca), str(certificates.other_ca)
    unknown = Refused(refusals.UNKNOWN_CA, "set DB_CA_FILE to a PEM file with the CA of the server's certificate")
    other = Refused(refusals.OTHER_HOST, "set DATABASE_URL or DB_HOST to a name in the server's certificate")
    for environ, expected in (
        ({**by_parts(postgresql), "DB_CA_FILE": other_ca}, unknown),
        ({"DATABASE_URL": postgresql.url(FULL), "DB_CA_FILE": other_ca}, unknown),
        ({**by_parts(postgresql, OTHER_HOST), "DB_CA_FILE": ca}, other),
        ({"DATABASE_URL": postgresql.url(host=OTHER_HOST), "DB_CA_FILE": ca}, other),
    ):
        with pytest.raises(TlsError) as raised:
            await encrypted(given(environ))
        check_refusal(raised, expected)
        await check_doctor(given(environ), tmp_path, "postgresql", "postgresql.connection", expected)


async def test_an_expired_certificate_is_refused(
    postgresql: PostgresqlWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    settings = given({**by_parts(postgresql), "DB_CA_FILE": str(certificates.ca)})
    expected = Refused(refusals.EXPIRED, "renew the server's certificate")
    async with postgresql.expired():
        with pytest.raises(TlsError) as raised:
            await encrypted(settings)
        check_refusal(raised, expected)
        await check_doctor(settings, tmp_path, "postgresql", "postgresql.connection", expected)
    assert await encrypted(settings)


async def test_a_role_that_waits_goes_on_once_the_certificate_is_renewed(
    postgresql: PostgresqlWithTls, certificates: Certificates
) -> None:
    settings, tries = given({**by_parts(postgresql), "DB_CA_FILE": str(certificates.ca)}), 0

    async def attempt() -> Pool:
        nonlocal tries
        tries += 1
        return await open_pool(settings, size=1)

    async def refused_twice() -> bool:
        return tries > 2

    async with postgresql.expired():
        opening = asyncio.ensure_future(retry_transient(attempt, asyncio.Event(), operation="database"))
        await eventually(refused_twice)
    pool = await opening
    await pool.close()


async def test_what_a_url_does_not_verify_is_a_warning(
    postgresql: PostgresqlWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    """As libpq documents `sslmode`."""
    ca = f"&sslrootcert={certificates.ca}"
    for query, said in (("?sslmode=require", "not verified"), (f"?sslmode=verify-ca{ca}", "the name in the")):
        settings = given({"DATABASE_URL": postgresql.url(query, host=OTHER_HOST)})
        assert await encrypted(settings)
        found = (await examined(settings, tmp_path, "postgresql", "tls"))["postgresql.tls"]
        assert (found.status, said in found.detail) == ("warn", True), found
    verified = given({"DATABASE_URL": postgresql.url(f"{FULL}{ca}")})
    assert (await examined(verified, tmp_path, "tls"))["postgresql.tls"].status == "ok"


@pytest.mark.skipif(pgbouncer.BINARY is None, reason="pgbouncer is not installed")
async def test_through_a_pooler_both_connections_are_verified(
    postgresql: PostgresqlWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    async with pooler_with_tls(tmp_path, postgresql, certificates) as port:
        parts = {**by_parts(postgresql), "DB_PORT": str(port), "DB_POOLING": "transaction"}
        assert await encrypted(given({**parts, "DB_CA_FILE": str(certificates.ca)}))
        with pytest.raises(TlsError, match="set DB_CA_FILE"):
            await encrypted(given({**parts, "DB_CA_FILE": str(certificates.other_ca)}))
        with pytest.raises(TlsError, match=refusals.OTHER_HOST):
            await encrypted(given({**parts, "DB_HOST": OTHER_HOST, "DB_CA_FILE": str(certificates.ca)}))
