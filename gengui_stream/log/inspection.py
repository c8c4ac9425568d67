"""Facts about the brokers, the topic and consumer groups, and the user's right to write to the topic."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, for_code

from gengui_stream.log.connection import connection, no_broker
from gengui_stream.log.topics import administering, answer_of_any_broker, described_partitions
from gengui_stream.round_trip import fastest
from gengui_stream.settings import Settings

BEYOND_BYTES: Final = 64 * 1024
RECORD_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """`leader`: -1 without a leader. `leader`, `replicas` and `in_sync` are broker ids."""

    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class Broker(NamedTuple):
    """`id`: its `node.id`. `out_of_sync`: the partitions of which it has a replica that is not in sync."""

    id: int
    out_of_sync: Sequence[int]


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """`members`: the number of processes in the group."""

    state: str
    members: int


@dataclass(frozen=True, slots=True)
class LogFacts:
    """`partitions`: empty when the topic does not exist. `configuration`: of the topic, with defaults. `groups`: by
    name. `refused`: the requests that the user may not make."""

    brokers: int
    round_trip_s: float
    partitions: tuple[PartitionFacts, ...]
    configuration: Mapping[str, str]
    groups: Mapping[str, GroupFacts]
    refused: tuple[str, ...]


async def inspect_log(settings: Settings, groups: Collection[str]) -> LogFacts:
    """Creates nothing. Raises TransientError when no broker is reachable."""
    refused: list[str] = []
    async with administering(settings) as admin:
        cluster = await fastest(admin.describe_cluster)
        partitions = await _partitions(admin, settings.events_topic)
        configuration = await _configuration(admin, settings.events_topic, refused) if partitions else {}
        found = {name: facts for name in groups if (facts := await _group(admin, name, refused))}
    return LogFacts(len(cluster.answer["brokers"]), cluster.seconds, partitions, configuration, found, tuple(refused))


async def replica_brokers(settings: Settings) -> list[Broker]:
    """Of the topic of the log; none when it does not exist. Raises TransientError when no broker is reachable; one that
    does not answer is not waited for."""
    return brokers_of(await answer_of_any_broker(settings, lambda admin: _partitions(admin, settings.events_topic)))


def brokers_of(partitions: Iterable[PartitionFacts]) -> list[Broker]:
    """Those with a replica, by their ids."""
    behind: dict[int, list[int]] = {}
    for one in partitions:
        for broker in one.replicas:
            own = behind.setdefault(broker, [])
            if broker not in one.in_sync:
                own.append(one.number)
    return [Broker(*found) for found in sorted(behind.items())]


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> tuple[PartitionFacts, ...]:
    partitions = [
        PartitionFacts(one["partition"], one["leader"], tuple(one["replicas"]), tuple(one["isr"]))
        for one in await described_partitions(admin, topic)
    ]
    return tuple(sorted(partitions, key=lambda one: one.number))


async def _configuration(admin: AIOKafkaAdminClient, topic: str, refused: list[str]) -> dict[str, str]:
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    found: dict[str, str] = {}
    for code, _, _, _, entries in response.resources:
        if code:
            refused.append(f"DescribeConfigs of the topic {topic} ({for_code(code).__name__})")
        found |= {str(name): str(value) for name, value, *_ in entries}
    return found


async def _group(admin: AIOKafkaAdminClient, name: str, refused: list[str]) -> GroupFacts | None:
    try:
        responses = await admin.describe_consumer_groups([name])
    except KafkaError as error:
        if not error.retriable:  # else: a cluster in which no group was ever made has no coordinator yet
            refused.append(f"Describe of the group {name} ({type(error).__name__})")
        return None
    for response in responses:
        for code, _, state, _, _, members, *_ in response.groups:
            if code:
                refused.append(f"Describe of the group {name} ({for_code(code).__name__})")
                return None
            return GroupFacts(str(state), len(members))
    return None


async def try_to_append(settings: Settings, record_max_bytes: int) -> None:
    """Sends a record that exceeds the topic's limit. A broker checks the user's rights before it rejects the size, so
    nothing is appended. Raises the KafkaError of any other rejection, and TransientError when no broker is reachable.

    `record_max_bytes`: the topic's `max.message.bytes`. Above RECORD_MAX_BYTES nothing is sent.
    """
    if record_max_bytes > RECORD_MAX_BYTES:
        return
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=2 * RECORD_MAX_BYTES
    )
    try:
        await producer.start()
        await producer.send_and_wait(settings.events_topic, bytes(record_max_bytes + BEYOND_BYTES), partition=0)
    except MessageSizeTooLargeError:
        return
    except OSError as error:
        raise await no_broker(settings, error) from error
    finally:
        await producer.stop()
