"""How the doctor evaluates the facts about each server."""

from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from aiokafka.errors import KafkaError, for_code
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.doctor.findings import Finding, clock, connected, worst
from gengui_stream.doctor.servers import kafka, object_store, postgresql, redis
from gengui_stream.log.inspection import LogFacts, PartitionFacts
from gengui_stream.postgres.inspection import DatabaseFacts
from gengui_stream.postgres.migrations import shipped_migrations
from gengui_stream.redis_io.inspection import RedisFacts
from gengui_stream.settings import load_settings
from tests.unit.doctor.findings import NOW, statuses

SETTINGS = load_settings({}, env_files=())


def only(findings: list[Finding], name: str) -> Finding:
    [found] = [finding for finding in findings if finding.name == name]
    assert (found.remedy is None) == (found.status == "ok")
    return found


@given(st.floats(-1e6, 1e6), st.floats(0, 2))
def test_the_further_a_clock_the_worse(skew_s: float, resolution_s: float) -> None:
    order = ["ok", "warn", "fail"]

    def evaluated(seconds: float) -> int:
        return order.index(clock("x", NOW + timedelta(seconds=seconds), NOW, resolution_s=resolution_s).status)

    assert evaluated(skew_s) == evaluated(-skew_s)
    assert evaluated(skew_s) <= evaluated(skew_s * 2)
    assert evaluated(0) == 0
    assert evaluated(120) == evaluated(-120) == 2


def test_a_slow_server_is_worth_a_warning_and_the_worst_counts() -> None:
    assert [connected("x", "s", seconds).status for seconds in (0.001, 1.0)] == ["ok", "warn"]
    assert worst([]) == "ok"
    assert worst([connected("x", "s", 1.0), connected("x", "s", 0.0)]) == "warn"


DATABASE = DatabaseFacts(
    version="18.1",
    now=NOW,
    asked_at=NOW,
    round_trip_s=0.001,
    read_only=False,
    connections=10,
    connections_max=100,
    encrypted=False,
    applied={migration.name: migration.sha256 for migration in shipped_migrations()},
    missing_privileges=(),
)


def test_a_database_as_it_should_be() -> None:
    assert set(statuses(postgresql.evaluate(DATABASE, SETTINGS)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        (replace(DATABASE, version="13.4 (Debian)"), "postgresql.version", "warn", "14"),
        (replace(DATABASE, read_only=True), "postgresql.writable", "fail", "primary"),
        (replace(DATABASE, connections=98), "postgresql.connections", "warn", "DB_POOL_MAX"),
        (replace(DATABASE, now=NOW + timedelta(minutes=5)), "postgresql.clock", "fail", "NTP"),
        (replace(DATABASE, applied=None), "postgresql.migrations", "fail", "gengui-stream migrate"),
        (replace(DATABASE, applied={}), "postgresql.migrations", "fail", "gengui-stream migrate"),
        (
            replace(DATABASE, applied={**(DATABASE.applied or {}), "9999_pre_later.sql": "x"}),
            "postgresql.migrations",
            "warn",
            "upgrade",
        ),
        (
            replace(DATABASE, applied={**(DATABASE.applied or {}), shipped_migrations()[0].name: "another"}),
            "postgresql.migrations",
            "fail",
            "restore",
        ),
        (replace(DATABASE, missing_privileges=("jobs.jobs: UPDATE",)), "postgresql.privileges", "fail", "GRANT"),
    ],
)
def test_faults_of_a_database(facts: DatabaseFacts, name: str, status: str, words: str) -> None:
    found = only(postgresql.evaluate(facts, SETTINGS), name)
    assert (found.status, words in (found.remedy or "")) == (status, True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "start PostgreSQL"),
        (TimeoutError(), "start PostgreSQL"),
        (asyncpg.InvalidPasswordError("password authentication failed"), "DB_PASSWORD"),
        (asyncpg.InvalidCatalogNameError("database x does not exist"), "DB_NAME"),
        (asyncpg.TooManyConnectionsError("too many clients"), "DB_POOL_MAX"),
        (asyncpg.CannotConnectNowError("starting up"), "wait"),
    ],
)
def test_why_a_database_cannot_be_reached(error: Exception, words: str) -> None:
    found = postgresql.unreachable(error, "db:5432/gengui")
    assert found.detail.startswith("Database connection failed: db:5432/gengui: ")
    assert words in (found.remedy or "")


REDIS = RedisFacts(
    now=NOW,
    asked_at=NOW,
    round_trip_s=0.001,
    about={"redis_version": "7.2.4", "role": "master", "aof_enabled": "1", "maxmemory": "0"},
    refused=(),
)


def about(**fields: str) -> RedisFacts:
    return replace(REDIS, about={**REDIS.about, **fields})


def test_a_redis_as_it_should_be() -> None:
    assert set(statuses(redis.evaluate(REDIS)).values()) == {"ok"}
    assert set(statuses(redis.evaluate(about(maxmemory="1000", used_memory="10"))).values()) == {"ok"}
    assert set(statuses(redis.evaluate(about(maxmemory="0", maxmemory_policy="allkeys-lru"))).values()) == {"ok"}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        (about(redis_version="6.0.16"), "redis.version", "fail", "6.2"),
        (about(role="slave"), "redis.writable", "fail", "primary"),
        (about(aof_enabled="0"), "redis.persistence", "warn", "appendonly yes"),
        (about(aof_last_write_status="err"), "redis.persistence", "fail", "disk"),
        (about(maxmemory="1000", maxmemory_policy="allkeys-lru"), "redis.memory", "fail", "noeviction"),
        (about(maxmemory="1000", maxmemory_policy="volatile-ttl"), "redis.memory", "warn", "noeviction"),
        (about(maxmemory="1000", used_memory="950"), "redis.memory", "warn", "maxmemory"),
        (replace(REDIS, refused=("XADD generation:stream:doctor",)), "redis.permissions", "fail", "ACL"),
        (replace(REDIS, refused=("INFO",), about={}), "redis.permissions", "warn", "ACL"),
    ],
)
def test_faults_of_a_redis(facts: RedisFacts, name: str, status: str, words: str) -> None:
    found = only(redis.evaluate(facts), name)
    assert (found.status, words in (found.remedy or "")) == (status, True)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Redis at 127.0.0.1:6379: Connection refused", "start Redis"),
        ("Redis: AuthenticationError: invalid username-password pair or user is disabled.", "password"),
        ("Redis: ConnectionError: NOAUTH Authentication required.", "password"),
    ],
)
def test_why_redis_cannot_be_reached(said: str, words: str) -> None:
    found = redis.unreachable(said)
    assert found.detail.startswith("Redis connection failed: ")
    assert words in (found.remedy or "")


ALONE = tuple(PartitionFacts(number, 1, (1,), (1,)) for number in range(4))


THREE = tuple(PartitionFacts(number, 1, (1, 2, 3), (1, 2, 3)) for number in range(4))


KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "1100000"}


LOG = LogFacts(1, 0.001, ALONE, {**KEPT, "min.insync.replicas": "1"}, {}, ())


def configured(**changes: str) -> LogFacts:
    named = {name.replace("_", "."): value for name, value in changes.items()}
    return replace(LOG, configuration={**LOG.configuration, **named})


def test_a_topic_as_it_should_be() -> None:
    assert set(statuses(kafka.evaluate(LOG, SETTINGS)).values()) == {"ok"}
    three = replace(LOG, partitions=THREE, configuration={**KEPT, "min.insync.replicas": "2"})
    production = load_settings({"ENVIRONMENT": "production", "EVENTS_REPLICATION_FACTOR": "3"}, env_files=())
    assert set(statuses(kafka.evaluate(three, production)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        (replace(LOG, partitions=()), "kafka.topic", "fail", "gengui-stream migrate"),
        (replace(LOG, partitions=ALONE[:3]), "kafka.topic", "fail", "EVENTS_PARTITIONS=3"),
        (configured(cleanup_policy="compact"), "kafka.retention", "fail", "delete"),
        (configured(cleanup_policy="compact,delete"), "kafka.retention", "fail", "delete"),
        (configured(retention_ms="604800000"), "kafka.retention", "fail", "-1"),
        (configured(retention_bytes="1000000"), "kafka.retention", "fail", "-1"),
        (configured(max_message_bytes="1000"), "kafka.record_size", "warn", "1100000"),
        (configured(min_insync_replicas="2"), "kafka.replication", "warn", "min.insync.replicas to 1"),
        (replace(LOG, partitions=THREE), "kafka.replication", "warn", "min.insync.replicas to 2"),
        (replace(LOG, partitions=(PartitionFacts(0, -1, (1,), ()), *ALONE[1:])), "kafka.leaders", "fail", "brokers"),
        (replace(LOG, partitions=(PartitionFacts(0, 1, (1, 2), (1,)), *ALONE[1:])), "kafka.leaders", "warn", "start"),
        (replace(LOG, refused=("Describe of the group x",)), "kafka.permissions", "warn", "ACL"),
    ],
)
def test_faults_of_a_topic(facts: LogFacts, name: str, status: str, words: str) -> None:
    found = only(kafka.evaluate(facts, SETTINGS), name)
    assert (found.status, words in (found.remedy or "")) == (status, True)


def test_a_broker_that_lacks_events_is_named_with_its_partitions() -> None:
    one, other = PartitionFacts(0, 1, (1, 2), (1,)), PartitionFacts(1, 1, (1, 2, 3), (1,))
    found = only(kafka.evaluate(replace(LOG, partitions=(one, other, *ALONE[2:])), SETTINGS), "kafka.leaders")
    assert found.detail == "replicas out of sync at broker 2 in partition 0, 1; 3 in partition 1"


def test_too_few_replicas_in_production() -> None:
    production = load_settings({"ENVIRONMENT": "production"}, env_files=())
    assert only(kafka.evaluate(LOG, production), "kafka.replication").status == "warn"
    wanted = load_settings({"EVENTS_REPLICATION_FACTOR": "3"}, env_files=())
    assert "EVENTS_REPLICATION_FACTOR" in (only(kafka.evaluate(LOG, wanted), "kafka.replication").remedy or "")


@pytest.mark.parametrize(
    ("code", "words"),
    [(29, "ACLs"), (31, "ACLs"), (19, "min.insync.replicas"), (20, "min.insync.replicas"), (-1, "log")],
)
def test_why_nothing_can_be_appended(code: int, words: str) -> None:
    error: KafkaError = for_code(code)()
    assert words in (kafka.not_written(error).remedy or "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("object store: An error occurred (404) when calling the HeadBucket operation: Not Found", "S3_BUCKET"),
        ("object store: An error occurred (AccessDenied) when calling the PutObject operation: no", "s3:PutObject"),
        (
            "object store: An error occurred (InvalidAccessKeyId) when calling the PutObject operation",
            "AWS_ACCESS_KEY_ID",
        ),
        ("object store: An error occurred (SignatureDoesNotMatch) when calling x", "AWS_SECRET_ACCESS_KEY"),
        ("object store: An error occurred (RequestTimeTooSkewed) when calling x", "NTP"),
        ("object store: An error occurred (ExpiredToken) when calling x", "AWS_SESSION_TOKEN"),
        ("object store: Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
        ("object store: EndpointConnectionError: Could not connect to the endpoint URL", "S3_ENDPOINT"),
        ("object store: An error occurred (Strange) when calling x", "what the store says"),
    ],
)
def test_why_an_object_cannot_be_stored(said: str, words: str) -> None:
    found = object_store.failed("object_store.write", said)
    assert found.detail.startswith("S3 upload failed: ")
    assert words in (found.remedy or "")
