"""The doctor with available but misconfigured servers."""

import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from gengui_stream.dev.kafka import properties
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.log.connection import connection
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.inspection import try_to_append
from gengui_stream.log.topics import TOPIC_CONFIGURATION, ensure_topic
from gengui_stream.media.object_store import open_object_store
from gengui_stream.recovery.lag import log_ends
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.settings import Settings
from tests.databases import new_database
from tests.integration.doctor.doctoring import examined, failed
from tests.integration.running import a_request, private_redis

pytestmark = pytest.mark.stack


async def test_servers_as_they_should_be(settings: Settings, event_log: EventLog, tmp_path: Path) -> None:
    await event_log.append(a_request())
    ends = await log_ends(settings)
    found = await examined(settings, tmp_path, "postgresql", "redis", "kafka", "object_store")
    slow = {name for name, finding in found.items() if (finding.remedy or "").startswith("slow: ")}
    assert {name for name, finding in found.items() if finding.status != "ok"} - slow == set()
    assert {"kafka.write", "object_store.signed_url", "postgresql.privileges", "redis.permissions"} <= set(found)
    assert await log_ends(settings) == ends, "the doctor wrote to the log"
    async with opened_client(settings) as redis:
        assert await redis.dbsize() == 0, "the doctor left something at Redis"
    async with open_object_store(settings) as store:
        [*objects] = await store._in_thread(
            lambda: store._client.list_objects_v2(Bucket=settings.s3_bucket).get("Contents", [])
        )
        assert objects == [], "the doctor left something in the bucket"


# postgresql


@asynccontextmanager
async def role_without_rights(settings: Settings) -> AsyncIterator[Settings]:
    address = urlsplit(settings.database_dsn)
    connection = await asyncpg.connect(settings.database_dsn)
    try:
        await connection.execute("CREATE ROLE doctors_patient LOGIN")
        schemas = "SCHEMA accounts, jobs, migrations, projections"
        await connection.execute(f"GRANT USAGE ON {schemas} TO doctors_patient")
        await connection.execute(f"GRANT SELECT ON ALL TABLES IN {schemas} TO doctors_patient")
        own = f"postgresql://doctors_patient@{address.hostname}:{address.port}{address.path}"
        yield settings.model_copy(update={"database_url": SecretStr(own)})
        await connection.execute("DROP OWNED BY doctors_patient")
        await connection.execute("DROP ROLE doctors_patient")
    finally:
        await connection.close()


async def test_a_database_user_without_rights(settings: Settings, tmp_path: Path) -> None:
    async with role_without_rights(settings) as own:
        found = (await examined(own, tmp_path, "postgresql"))["postgresql.privileges"]
    assert (found.status, "api_keys: INSERT" in found.detail, "GRANT" in (found.remedy or "")) == ("fail", True, True)


async def test_a_database_that_was_not_migrated(settings: Settings, tmp_path: Path) -> None:
    async with new_database({"DATABASE_URL": settings.database_dsn.rsplit("/", 1)[0] + "/gengui"}, "template1") as url:
        bare = settings.model_copy(update={"database_url": SecretStr(url)})
        found = await examined(bare, tmp_path, "postgresql")
    assert failed(found) == {"postgresql.migrations"}
    assert "gengui-stream migrate" in (found["postgresql.migrations"].remedy or "")


@pytest.mark.parametrize(("change", "words"), [("user", "DB_USER"), ("database", "DB_NAME")])
async def test_a_database_or_a_user_that_there_is_not(
    change: str, words: str, settings: Settings, tmp_path: Path
) -> None:
    address = urlsplit(settings.database_dsn)
    user, name = ("nobody", address.path) if change == "user" else ("gengui", "/not-there")
    url = SecretStr(f"postgresql://{user}:hunter2@{address.hostname}:{address.port}{name}")
    found = await examined(settings.model_copy(update={"database_url": url}), tmp_path, "postgresql")
    assert failed(found) == {"postgresql.connection"}
    assert words in (found["postgresql.connection"].remedy or "")
    assert "hunter2" not in str(found)


# redis


async def test_a_redis_user_without_rights_and_a_wrong_password(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        await server.start()
        async with opened_client(server.settings(settings)) as redis:
            await redis.acl_setuser(
                "patient",
                enabled=True,
                passwords=["+hunter2"],
                keys=["jobs:*"],
                categories=["+@all", "-@scripting"],
                reset=True,
            )
        for password, name, words in (("hunter2", "redis.permissions", "ACL"), ("x", "redis.connection", "password")):
            url = SecretStr(f"redis://patient:{password}@127.0.0.1:{server.port}/0")
            found = await examined(settings.model_copy(update={"redis_url": url}), tmp_path, "redis")
            assert failed(found) == {name}
            assert words in (found[name].remedy or "")
            assert "hunter2" not in str(found)


async def test_something_that_is_no_redis(settings: Settings, tmp_path: Path) -> None:
    store = urlsplit(settings.s3_endpoint or "")
    own = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{store.port}/0")})
    found = await examined(own, tmp_path, "redis")
    assert failed(found) == {"redis.connection"}


# kafka


async def create_topic(settings: Settings, **changes: str) -> Settings:
    """One of another name, with a configuration that is not what the laws ask for."""
    other = settings.model_copy(update={"events_topic": f"{settings.events_topic}-other"})
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        configuration = {**TOPIC_CONFIGURATION, **{name.replace("_", "."): value for name, value in changes.items()}}
        topic = NewTopic(
            other.events_topic, settings.events_partitions, replication_factor=1, topic_configs=configuration
        )
        await admin.create_topics([topic])
    finally:
        await admin.close()
    return other


@pytest.mark.parametrize("changes", [{"cleanup_policy": "compact"}, {"retention_ms": "604800000"}])
async def test_a_topic_that_is_not_kept(changes: dict[str, str], settings: Settings, tmp_path: Path) -> None:
    assert failed(await examined(await create_topic(settings, **changes), tmp_path, "kafka")) == {"kafka.retention"}


async def test_another_number_of_partitions_and_no_topic(settings: Settings, tmp_path: Path) -> None:
    found = await examined(settings.model_copy(update={"events_partitions": 9}), tmp_path, "kafka")
    assert "EVENTS_PARTITIONS=4" in (found["kafka.topic"].remedy or "")
    found = await examined(settings.model_copy(update={"events_topic": "not-there"}), tmp_path, "kafka")
    assert failed(found) == {"kafka.topic"}
    assert "gengui-stream migrate" in (found["kafka.topic"].remedy or "")


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaServer]:
    """A broker that has access control."""
    authorizer = (
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        "allow.everyone.if.no.acl.found=true\n"
    )
    monkeypatch.setattr(properties, "PROPERTIES", properties.PROPERTIES + authorizer)
    with TemporaryDirectory(prefix="gengui-test-", ignore_cleanup_errors=True) as name:
        yield KafkaServer(Path(name) / "kafka", Path(name) / "log")


async def allow(settings: Settings, operations: tuple[int, ...]) -> None:
    """These to the anonymous user on the topic, and so nothing else; by the numbers of the wire."""
    protocol: Any = importlib.import_module("aiokafka.protocol.admin")
    topic, literal, allowed = 2, 3, 3
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        for operation in operations:
            await admin._send_request(
                protocol.CreateAclsRequest(
                    topic, settings.events_topic, literal, "User:ANONYMOUS", "*", operation, allowed
                )
            )
    finally:
        await admin.close()


async def test_a_kafka_user_who_may_read_and_not_write(
    guarded: KafkaServer, settings: Settings, tmp_path: Path
) -> None:
    read, describe, describe_configs = 3, 8, 10
    await guarded.start()
    try:
        own = settings.model_copy(update={"kafka_bootstrap_servers": guarded.address})
        await ensure_topic(own)
        assert failed(await examined(own, tmp_path, "kafka")) == set()
        await allow(own, (read, describe, describe_configs))
        found = await examined(own, tmp_path, "kafka")
        assert failed(found) == {"kafka.write"}
        assert "Authorization" in found["kafka.write"].detail
        assert "IdempotentWrite" in (found["kafka.write"].remedy or "")
    finally:
        await guarded.stop()


async def test_a_probe_that_a_topic_would_take_is_not_sent(settings: Settings) -> None:
    ends = await log_ends(settings)
    await try_to_append(settings, 100 * 1024 * 1024)
    assert await log_ends(settings) == ends
