"""Servers with TLS, one of each for all tests of a process. A test is skipped where a server is not installed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.postgres.root_directory import server_user
from tests.integration.tls.certificates import Certificates, made_in
from tests.integration.tls.servers import postgresql as postgresql_server
from tests.integration.tls.servers import redis as redis_server
from tests.integration.tls.servers.kafka import KafkaWithTls
from tests.integration.tls.servers.object_store import ObjectStoreWithTls
from tests.integration.tls.servers.postgresql import PostgresqlWithTls
from tests.integration.tls.servers.redis import RedisWithTls


class Server(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@contextmanager
def started(*servers: Server) -> Iterator[None]:
    async def start() -> None:
        await asyncio.gather(*(server.start() for server in servers))

    async def stop() -> None:
        await asyncio.gather(*(server.stop() for server in servers))

    try:
        asyncio.run(start())
        yield
    finally:
        asyncio.run(stop())


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """PostgreSQL does not run as root, and its user must enter it."""
    with temporary_directory("gengui-tls-") as directory:
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="session")
def certificates(folder: Path) -> Certificates:
    return made_in(folder / "certificates", server_user())


@pytest.fixture(scope="session")
def postgresql(folder: Path, certificates: Certificates) -> Iterator[PostgresqlWithTls]:
    if postgresql_server.BINARIES is None:
        pytest.skip("PostgreSQL is not installed")
    (folder / "postgresql").mkdir(mode=0o755)
    server = PostgresqlWithTls(folder / "postgresql", certificates, server_user())
    with started(server):
        yield server


@pytest.fixture(scope="session")
def redis(folder: Path, certificates: Certificates) -> Iterator[RedisWithTls]:
    yield from _redis(RedisWithTls(folder, certificates, certificates.server))


@pytest.fixture(scope="session")
def expired_redis(folder: Path, certificates: Certificates) -> Iterator[RedisWithTls]:
    yield from _redis(RedisWithTls(folder, certificates, certificates.expired))


@pytest.fixture(scope="session")
def asking_redis(folder: Path, certificates: Certificates) -> Iterator[RedisWithTls]:
    yield from _redis(RedisWithTls(folder, certificates, certificates.server, asking=True))


def _redis(server: RedisWithTls) -> Iterator[RedisWithTls]:
    if redis_server.BINARY is None:
        pytest.skip("redis-server is not installed")
    with started(server):
        yield server


@pytest.fixture(scope="session")
def kafka(apache_kafka: None, folder: Path, certificates: Certificates) -> Iterator[KafkaWithTls]:
    (folder / "kafka").mkdir()
    server = KafkaWithTls(folder / "kafka", certificates)
    with started(server):
        yield server


@pytest.fixture(scope="session")
def object_store(folder: Path, certificates: Certificates) -> Iterator[ObjectStoreWithTls]:
    server = ObjectStoreWithTls(folder / "seaweed", certificates)
    with started(server):
        yield server
