"""Checks of Kafka: availability, and the topic of the log: unlimited retention, no compaction, replicas,
permissions."""

from collections.abc import Mapping
from typing import Final

from aiokafka.errors import KafkaError

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, connected, fail, ok, warn
from gengui_stream.errors import ConfigurationError, TlsError, TransientError
from gengui_stream.log.inspection import LogFacts, PartitionFacts, brokers_of, inspect_log, try_to_append
from gengui_stream.log.topics import TOPIC_CONFIGURATION
from gengui_stream.settings import Settings

RECORD_MAX_BYTES: Final = int(TOPIC_CONFIGURATION["max.message.bytes"])


async def check_kafka(context: Context) -> list[Finding]:
    settings = context.settings
    try:
        facts = await inspect_log(settings, ())
    except ConfigurationError as error:
        return [fail("kafka.connection", "; ".join(error.faults), "correct the setting")]
    except TlsError as error:
        return [fail("kafka.connection", f"Kafka connection failed: {error.fault}", error.remedy)]
    except TransientError as error:
        return [unreachable(str(error))]
    found = evaluate(facts, settings)
    record_max_bytes = facts.configuration.get("max.message.bytes", "")
    return [*found, await _write(settings, int(record_max_bytes))] if record_max_bytes.isdigit() else found


def unreachable(message: str) -> Finding:
    """Pure."""
    refused = "Authentication" in message or "Sasl" in message
    remedy = (
        "correct KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        if refused
        else "start Kafka, or correct KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL"
    )
    return fail("kafka.connection", f"Kafka connection failed: {message}", remedy)


def evaluate(facts: LogFacts, settings: Settings) -> list[Finding]:
    """Pure. The finding about the connection comes first."""
    brokers = f"{facts.brokers} broker{'s' if facts.brokers != 1 else ''}"
    connection = connected("kafka.connection", brokers, facts.round_trip_s)
    if not facts.partitions:
        remedy = "run `gengui-stream migrate`, correct EVENTS_TOPIC, or allow the user to describe the topic"
        return [
            connection,
            fail(
                "kafka.topic",
                f"the topic {settings.events_topic} does not exist, or is not visible to the user",
                remedy,
            ),
        ]
    found = [connection, _partitions(facts, settings), _leaders(facts), _replication(facts, settings)]
    if facts.configuration:
        found += [_retention(facts.configuration), _record_size(facts.configuration)]
    return [*found, _permissions(facts)]


def _partitions(facts: LogFacts, settings: Settings) -> Finding:
    number = len(facts.partitions)
    if number != settings.events_partitions:
        detail = f"{settings.events_topic} has {number} partitions, EVENTS_PARTITIONS is {settings.events_partitions}"
        return fail("kafka.topic", detail, f"set EVENTS_PARTITIONS={number}: it is fixed once the topic exists")
    return ok("kafka.topic", f"{settings.events_topic}, {number} partitions")


def _leaders(facts: LogFacts) -> Finding:
    leaderless = [str(one.number) for one in facts.partitions if one.leader < 0]
    behind = [one for one in brokers_of(facts.partitions) if one.out_of_sync]
    if leaderless:
        remedy = "start the brokers that have their replicas"
        return fail("kafka.leaders", f"no leader for partition {', '.join(leaderless)}", remedy)
    if behind:
        lacks = [f"{one.id} in partition {', '.join(map(str, one.out_of_sync))}" for one in behind]
        remedy = "start it, if it has stopped; else its log says why it is behind"
        return warn("kafka.leaders", f"replicas out of sync at broker {'; '.join(lacks)}", remedy)
    return ok("kafka.leaders", "every partition has a leader, every replica is in sync")


def _replication(facts: LogFacts, settings: Settings) -> Finding:
    name, replicas = "kafka.replication", min(map(_replicas, facts.partitions))
    minimum = facts.configuration.get("min.insync.replicas", "1")
    detail = f"{replicas} replicas, min.insync.replicas {minimum}"
    if int(minimum) > replicas:
        remedy = f"set min.insync.replicas to {max(1, replicas - 1)}: older brokers reject every write"
        return warn(name, detail, remedy)
    if replicas < settings.events_replication_factor:
        remedy = (
            f"reassign the topic to {settings.events_replication_factor} replicas, or set EVENTS_REPLICATION_FACTOR"
        )
        return warn(name, detail, remedy)
    if settings.environment == "production" and replicas < 3:
        return warn(name, detail, "reassign the topic to 3 replicas: the loss of a broker loses events")
    if replicas > 1 and int(minimum) == 1:
        remedy = "set min.insync.replicas to 2: an event that only one broker has is lost with it"
        return warn(name, detail, remedy)
    return ok(name, detail)


def _replicas(partition: PartitionFacts) -> int:
    return len(partition.replicas)


def _retention(configuration: Mapping[str, str]) -> Finding:
    name = "kafka.retention"
    policy, by_time, by_size = (configuration.get(key) for key in ("cleanup.policy", "retention.ms", "retention.bytes"))
    if policy is not None and "compact" in policy:
        return fail(name, f"cleanup.policy is {policy}: compaction destroys history", "set cleanup.policy to delete")
    limits = {"retention.ms": by_time, "retention.bytes": by_size}
    set_limits = [f"{key}={value}" for key, value in limits.items() if value not in {None, "-1"}]
    if set_limits:
        remedy = "set retention.ms and retention.bytes to -1: what Kafka deletes cannot be folded again"
        return fail(name, f"events are deleted: {', '.join(set_limits)}", remedy)
    return ok(name, "unlimited retention, no compaction")


def _record_size(configuration: Mapping[str, str]) -> Finding:
    found = configuration.get("max.message.bytes", "")
    if found.isdigit() and int(found) < RECORD_MAX_BYTES:
        remedy = f"set max.message.bytes to {RECORD_MAX_BYTES}: the largest events are rejected"
        return warn("kafka.record_size", f"max.message.bytes is {found}", remedy)
    return ok("kafka.record_size", f"max.message.bytes is {found}")


def _permissions(facts: LogFacts) -> Finding:
    if facts.refused:
        remedy = "allow the user to describe the topic, its configuration and the consumer groups (ACLs)"
        return warn("kafka.permissions", f"not allowed: {', '.join(facts.refused)}", remedy)
    return ok("kafka.permissions", "the user may describe the topic")


async def _write(settings: Settings, record_max_bytes: int) -> Finding:
    try:
        await try_to_append(settings, record_max_bytes)
    except KafkaError as error:
        return not_written(error)
    return ok("kafka.write", "may append")


def not_written(error: KafkaError) -> Finding:
    """Pure."""
    reason = type(error).__name__
    if "Authorization" in reason:
        remedy = "allow the user to write to the topic, and IdempotentWrite on the cluster (ACLs)"
    elif "Replicas" in reason:
        remedy = "start the missing brokers: fewer replicas are in sync than min.insync.replicas"
    else:
        remedy = "see the brokers' logs"
    return fail("kafka.write", f"cannot append: {reason}", remedy)
