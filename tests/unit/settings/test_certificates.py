"""Settings of certificates: what each does to the address of its server, and faults at the start."""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import load_settings
from gengui_stream.settings.addresses.verification import Tls, tls_of_database, tls_of_redis
from gengui_stream.settings.advice import advice
from gengui_stream.settings.sources import DEV_ENV

SSL: Final = {"KAFKA_SECURITY_PROTOCOL": "SSL"}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path, ca: trustme.CA) -> str:
    path = tmp_path / "a CA.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ, env_files=())
    return refused.value.faults


def query(url: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_db_ssl_verifies_host_and_ca(ca_file: str) -> None:
    by_system = load_settings({"DB_SSL": "true"}, env_files=()).database_dsn
    assert query(by_system) == {"sslmode": "verify-full", "sslrootcert": "system"}
    by_file = load_settings({"DB_SSL": "true", "DB_CA_FILE": ca_file}, env_files=()).database_dsn
    assert query(by_file) == {"sslmode": "verify-full", "sslrootcert": ca_file}


@pytest.mark.parametrize(
    ("given", "mode"),
    [("", "verify-full"), ("?sslmode=require", "require"), ("?sslmode=verify-ca", "verify-ca")],
)
def test_the_ca_file_is_for_urls_too_and_their_mode_stays(given: str, mode: str, ca_file: str) -> None:
    environ = {"DATABASE_URL": f"postgresql://h/d{given}", "DATABASE_DIRECT_URL": f"postgresql://i/d{given}"}
    settings = load_settings({**environ, "DB_CA_FILE": ca_file}, env_files=())
    direct = settings.database_direct_address
    assert direct is not None
    for url in (settings.database_dsn, direct.url):
        assert query(url) == {"sslmode": mode, "sslrootcert": ca_file}


def test_the_ca_of_a_url_takes_precedence(ca_file: str) -> None:
    environ = {
        "DATABASE_URL": "postgresql://h/d?sslmode=verify-full&sslrootcert=system",
        "DB_CA_FILE": ca_file,
        "REDIS_URL": "rediss://h?ssl_ca_certs=" + (other := ca_file.replace("a CA", "another")),
        "REDIS_CA_FILE": ca_file,
    }
    trustme.CA().cert_pem.write_to_path(other)
    settings = load_settings(environ, env_files=())
    assert query(settings.database_dsn)["sslrootcert"] == "system"
    assert query(settings.redis_dsn) == {"ssl_ca_certs": other}


def test_the_ca_file_of_redis_is_for_its_url(ca_file: str) -> None:
    environ = {"REDIS_URL": "rediss://:p%40w@h:1/2?ssl_check_hostname=true", "REDIS_CA_FILE": ca_file}
    url = load_settings(environ, env_files=()).redis_dsn
    assert url.startswith("rediss://:p%40w@h:1/2?")
    assert query(url) == {"ssl_check_hostname": "true", "ssl_ca_certs": ca_file}


@pytest.mark.parametrize("name", ["KAFKA_CA_FILE", "DB_CA_FILE", "REDIS_CA_FILE", "S3_CA_FILE", "SMTP_CA_FILE"])
def test_a_file_without_certificates_is_a_fault(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("none\n")
    beside = {**SSL, "DB_SSL": "true", "REDIS_URL": "rediss://h"}
    assert faults({name: str(tmp_path / "empty.pem"), **beside}) == [
        f"{name}: no certificates can be read from it: it must be a PEM file"
    ]
    assert faults({name: str(tmp_path / "none.pem"), **beside}) == [f"{name}: there is no such file"]


def test_a_certificate_without_tls_is_a_fault(ca_file: str) -> None:
    names = ("KAFKA_CA_FILE", "DB_CA_FILE", "REDIS_CA_FILE", "S3_CA_FILE")
    environ = {**dict.fromkeys(names, ca_file), "S3_ENDPOINT": "http://h", "REDIS_URL": "redis://h"}
    assert faults(environ) == [
        "KAFKA_SECURITY_PROTOCOL: must be SSL or SASL_SSL with KAFKA_CA_FILE",
        "DB_SSL: must be true with DB_CA_FILE",
        "REDIS_URL: must begin with rediss:// with REDIS_CA_FILE",
        "S3_ENDPOINT: must begin with https:// with S3_CA_FILE",
    ]


def test_certificates_of_other_servers_are_no_fault_beside_those_of_make_dev(tmp_path: Path, ca_file: str) -> None:
    dev = tmp_path / DEV_ENV
    dev.parent.mkdir()
    servers = ("DATABASE_URL=postgresql://h/d", "REDIS_URL=redis://h", "S3_ENDPOINT=http://h")
    dev.write_text("\n".join(("KAFKA_BOOTSTRAP_SERVERS=h:1", *servers)))
    names = ("KAFKA_CA_FILE", "KAFKA_CERT_FILE", "DB_CA_FILE", "REDIS_CA_FILE", "S3_CA_FILE")
    settings = load_settings(dict.fromkeys(names, ca_file), env_files=(dev,))
    assert (settings.database_dsn, settings.redis_dsn) == ("postgresql://h/d", "redis://h")
    assert settings.kafka_ca_file is settings.kafka_cert_file is settings.s3_ca_file is None


def test_a_certificate_of_the_client_needs_its_key(tmp_path: Path, ca: trustme.CA) -> None:
    issued, other = ca.issue_cert("client"), ca.issue_cert("client")
    certificate, key, both = (tmp_path / name for name in ("certificate.pem", "key.pem", "both.pem"))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    other.private_key_pem.write_to_path(str(key))
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    fault = "KAFKA_CERT_FILE, KAFKA_KEY_FILE, KAFKA_KEY_PASSWORD: no certificate with its key, or another password"
    assert faults({**SSL, "KAFKA_CERT_FILE": str(certificate)}) == [fault]
    assert faults({**SSL, "KAFKA_CERT_FILE": str(certificate), "KAFKA_KEY_FILE": str(key)}) == [fault]
    assert faults({**SSL, "KAFKA_KEY_FILE": str(key)}) == ["KAFKA_CERT_FILE: needed with KAFKA_KEY_FILE"]
    load_settings({**SSL, "KAFKA_CERT_FILE": str(both)}, env_files=())


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://h/d", "none"),
        ("postgresql://h/d?sslmode=prefer", "none"),
        ("postgresql://h/d?sslmode=require", "unverified"),
        ("postgresql://h/d?sslmode=require&sslrootcert=/ca.pem", "chain"),
        ("postgresql://h/d?sslmode=verify-ca", "chain"),
        ("postgresql://h/d?sslmode=verify-full", "verified"),
        ("redis://h", "none"),
        ("unix:///s", "none"),
        ("rediss://h", "verified"),
        ("rediss://h?ssl_cert_reqs=none", "unverified"),
        ("rediss://h?ssl_cert_reqs=optional", "unverified"),
        ("rediss://h?ssl_check_hostname=No", "chain"),
    ],
)
def test_what_a_url_verifies(url: str, mode: Tls) -> None:
    found = tls_of_database(url) if url.startswith("postgresql") else tls_of_redis(url)
    assert found == mode


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DATABASE_URL": "postgresql://h/d"}, "DATABASE_URL, DB_SSL: without TLS"),
        ({"DATABASE_URL": "postgresql://h/d?sslmode=require"}, "DATABASE_URL: any server is trusted"),
        ({"REDIS_URL": "rediss://h?ssl_cert_reqs=none"}, "REDIS_URL: any server is trusted"),
        ({"S3_ENDPOINT": "http://h"}, "S3_ENDPOINT: without TLS"),
    ],
)
def test_production_without_verified_tls_is_warned_of(environ: dict[str, str], said: str) -> None:
    safe = {"DB_SSL": "true", "REDIS_URL": "rediss://h", "EVENTS_REPLICATION_FACTOR": "3", **SSL}
    production = {"ENVIRONMENT": "production", **safe}
    assert advice(load_settings(production, env_files=())) == []
    [line] = advice(load_settings({**production, **environ}, env_files=()))
    assert line.startswith(said)
