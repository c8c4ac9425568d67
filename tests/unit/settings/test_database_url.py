"""PostgreSQL URLs as hosted services and libpq's users write them."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import ConfigurationError
from gengui_stream.postgres.connecting import connect_arguments
from gengui_stream.postgres.pool import open_pool
from gengui_stream.settings import load_settings
from gengui_stream.settings.addresses.database_url import address_of_parts, parse_database_url

USED = [
    "postgresql://u:p@h:5432/d",
    "postgres://u@h/d?sslmode=require",
    "postgresql://u@h1:5432,h2:5433/d?target_session_attrs=read-write",
    "postgresql://u@[::1]:5432/d",
    "postgresql://u@[fe80::1]/d",
    "postgresql://u@[::1]:5432,[::2]/d",
    "postgresql:///d?host=/var/run/postgresql&user=u",
    "postgresql://u@%2Fvar%2Frun%2Fpostgresql/d",
    "postgresql://u:p%40ss%2F%23@h/d",
    "postgresql://u:p@h/d?sslmode=require&channel_binding=prefer",
    "postgresql://u:p@h/d?options=-c%20statement_timeout%3D5s",
    "postgresql://u:p@h:6543/d?pgbouncer=true&connection_limit=1",
    "postgresql://u:p@h/d?connect_timeout=10&application_name=app&keepalives_idle=30&gssencmode=disable",
    "postgresql://u:p@h/d?ssl=true&client_encoding=UTF8",
    "postgresql://h/d?user=u&password=p&port=5432",
    "postgresql://",
]


@pytest.mark.parametrize("url", USED)
def test_these_are_used(url: str) -> None:
    address = parse_database_url(url)
    assert load_settings({"DATABASE_URL": url}, env_files=()).database_dsn == address.url
    for left_out in ("connect_timeout", "application_name", "keepalives", "pgbouncer", "channel_binding", "gssencmode"):
        assert left_out not in address.url


def test_what_asyncpg_does_not_read_is_given_to_it_otherwise() -> None:
    address = parse_database_url("postgresql://h/d?connect_timeout=10&application_name=app&pgbouncer=true&ssl=true")
    assert (address.application_name, address.connect_timeout_s, address.pooled) == ("app", 10.0, True)
    assert address.url == "postgresql://h/d?sslmode=require"
    assert parse_database_url("postgresql://h/d?connect_timeout=0").connect_timeout_s is None


REFUSED = {
    "mysql://h/d": "postgresql://",
    "h/d": "postgresql://",
    "postgresql://u:p@ss-s3cret@h/d": "%40",
    "postgresql://u:s3cret#x@h/d": "%23",
    "postgresql://u:s3cret@h:99999/d": "port",
    "postgresql://u:s3cret@h:0/d": "port",
    "postgresql://u:s3cret@h1:1,h2:many/d": "port",
    "postgresql://u:s3cret@::1/d": "brackets",
    "postgresql://u:s3cret@h/d?port=1,x": "port",
    "postgresql://u:s3cret@h/d?sslmode=no-verify": "verify-full",
    "postgresql://u:s3cret@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem": "/nowhere/ca.pem",
    "postgresql://u:s3cret@h/d?sslmode=require&sslrootcert=system": "verify-full",
    "postgresql://u:s3cret@h/d?channel_binding=require": "verify-full",
    "postgresql://u:s3cret@h/d?hostaddr=10.0.0.1": "host",
    "postgresql://u:s3cret@h/d?schema=public": "schema",
    "postgresql://u:s3cret@h/d?require_auth=scram-sha-256": "require_auth",
    "postgresql://u:s3cret@h/d?statement_timeout=5": "options=-c name=value",
    "postgresql://u:s3cret@h/d?connect_timeout=soon": "connect_timeout",
}


@pytest.mark.parametrize("url", REFUSED)
def test_these_are_refused_at_start_with_a_remedy_and_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"DATABASE_URL": url}, env_files=())
    [fault] = refused.value.faults
    assert fault.startswith("DATABASE_URL: ")
    assert REFUSED[url] in fault
    assert "s3cret" not in fault


@pytest.mark.parametrize("name", ["sslrootcert", "sslcrl", "sslcert"])
def test_a_file_without_certificates_is_refused_at_start(name: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("this is no certificate")
    url = f"postgresql://u:s3cret@h/d?sslmode=verify-full&{name}={tmp_path / 'ca.pem'}"
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"DATABASE_URL": url}, env_files=())
    [fault] = refused.value.faults
    assert fault.startswith("DATABASE_URL: ")
    assert name in fault
    assert "s3cret" not in fault


def test_certificates_of_authorities_are_used() -> None:
    url = f"postgresql://h/d?sslmode=verify-full&sslrootcert={files('botocore') / 'cacert.pem'}"
    assert parse_database_url(url).url == url
    assert parse_database_url("postgresql://h/d?sslmode=verify-full&sslrootcert=system").url.endswith("system")
    assert parse_database_url("postgresql://h/d?sslrootcert=system").url.endswith("&sslmode=verify-full")


async def test_a_file_that_the_environment_names_is_checked_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("this is no certificate")
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "ca.pem"))
    settings = load_settings({"DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:1/d?sslmode=verify-full"}, env_files=())
    with pytest.raises(ConfigurationError, match="DATABASE_URL: its certificates") as refused:
        await open_pool(settings)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("", {}),
        ("pgbouncer=true&connection_limit=1&connect_timeout=5&keepalives=1&channel_binding=prefer", {}),
        ("options=-c%20statement_timeout%3D5s", {"options": "-c statement_timeout=5s"}),
        ("application_name=app", {"application_name": "app"}),
    ],
)
async def test_only_settings_of_the_server_are_sent_to_it(query: str, sent: dict[str, str]) -> None:
    """PostgreSQL refuses a connection with a parameter that it does not know."""
    async with listening() as (port, parameters):
        address = parse_database_url(f"postgresql://u:p@127.0.0.1:{port}/d?{query}")
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await asyncpg.connect(**connect_arguments(address, timeout_s=5, server_settings={}))
    assert parameters == {"user": "u", "database": "d", "client_encoding": "'utf-8'", **sent}


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, dict[str, str]]]:
    """A server that keeps the parameters of a startup message (PostgreSQL 17, 53.7), and closes the connection."""
    parameters: dict[str, str] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            [length] = struct.unpack(">I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            if body[:4] != b"\x04\xd2\x16\x2f":  # SSLRequest
                break
            writer.write(b"N")
        words = body[4:].decode().split("\0")
        parameters.update(zip(words[::2], words[1::2], strict=False))
        parameters.pop("", None)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], parameters


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(st.integers(1, 65_535), WORDS, WORDS, st.none() | WORDS)
def test_the_parts_come_out_as_they_went_in(port: int, name: str, user: str, password: str | None) -> None:
    hosts = {"h": "h", "10.0.0.1": "10.0.0.1", "::1": "::1", "[::1]": "::1"}
    for host, found in hosts.items():
        parts = urlsplit(parse_database_url(address_of_parts(host, port, name, user, password, ssl=True)).url)
        assert (parts.hostname, parts.port, unquote(parts.path[1:])) == (found, port, name)
        assert (unquote(parts.username or ""), unquote(parts.password or "") or None) == (user, password)
        assert parse_qs(parts.query) == {"sslmode": ["verify-full"], "sslrootcert": ["system"]}


def test_a_socket_directory_is_a_host() -> None:
    settings = load_settings({"DB_HOST": "/var/run/postgresql", "DB_PORT": "5433", "DB_NAME": "d"}, env_files=())
    assert settings.database_dsn == "postgresql://gengui@/d?host=/var/run/postgresql&port=5433"
