"""Commands and agents with TLS to every server, and the exit code of a command that refuses one."""

import os
import uuid

import pytest

from agents.run import run_agents
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import load_settings
from tests.integration.commands import command
from tests.integration.running import a_request, eventually, running, state_of
from tests.integration.tls.certificates import Certificates
from tests.integration.tls.servers.kafka import KafkaWithTls
from tests.integration.tls.servers.object_store import ObjectStoreWithTls
from tests.integration.tls.servers.postgresql import PostgresqlWithTls
from tests.integration.tls.servers.redis import RedisWithTls
from tests.integration.tls.test_kafka import SCRAM


@pytest.fixture
def environ(
    postgresql: PostgresqlWithTls,
    redis: RedisWithTls,
    kafka: KafkaWithTls,
    object_store: ObjectStoreWithTls,
    certificates: Certificates,
) -> dict[str, str]:
    """Every server by its CA, with names of its own."""
    name, ca = f"t{uuid.uuid4().hex[:16]}", str(certificates.ca)
    return {
        "DATABASE_URL": postgresql.url("?sslmode=verify-full"),
        "DB_CA_FILE": ca,
        "REDIS_URL": redis.url(),
        "REDIS_CA_FILE": ca,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.address("SCRAM"),
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_CA_FILE": ca,
        **SCRAM,
        **object_store.environ(),
        "S3_CA_FILE": ca,
        **dict.fromkeys(("EVENTS_TOPIC", "CONSUMER_GROUP", "S3_BUCKET"), name),
        "EVENTS_PARTITIONS": "1",
    }


async def test_an_event_is_projected_over_tls_alone(environ: dict[str, str]) -> None:
    migrated = await command({**environ, "PATH": os.environ["PATH"]}, "migrate", "--json")
    assert migrated.code == 0, migrated.err
    settings, request = load_settings(environ, env_files=()), a_request()
    async with running(run_agents, settings), EventLog(settings) as log, opened_pool(settings, size=1) as pool:
        await log.append(request)
        await eventually(lambda: state_of(pool, request.generation_id))


async def test_the_doctor_finds_every_server_verified(environ: dict[str, str]) -> None:
    """On the event loop of a command, which is not that of the tests."""
    ran = await command(environ, "doctor", "--json")
    found = {one["name"]: one["status"] for one in ran.document["findings"]}
    servers = ("postgresql", "redis", "kafka", "object_store")
    assert {name: found[name] for name in found if name.endswith(".tls")} == {f"{one}.tls": "ok" for one in servers}


@pytest.mark.parametrize("name", ["DB_CA_FILE", "KAFKA_CA_FILE", "S3_CA_FILE"])
async def test_a_command_that_refuses_a_server_ends_with_78(
    name: str, environ: dict[str, str], certificates: Certificates
) -> None:
    ran = await command({**environ, name: str(certificates.other_ca)}, "migrate")
    assert ran.code == 78, ran.err
    assert "certificate verify failed" in ran.err
    assert ran.err.endswith(f"set {name} to a PEM file with the CA of the server's certificate\n")
