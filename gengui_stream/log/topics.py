"""The topic of the log: created with the configuration that the laws require; an existing one is checked, never
changed."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypedDict, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from gengui_stream.errors import ConfigurationError
from gengui_stream.log.connection import addresses, connection, no_broker
from gengui_stream.process.first_answer import first_answer
from gengui_stream.settings import Settings

T = TypeVar("T")

TOPIC_CONFIGURATION: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": "1100000",
}
"""Kept forever and never compacted: compaction removes history and leaves gaps (law 1)."""


class PartitionDescription(TypedDict):
    """`leader`, `replicas`, `isr`: ids of brokers."""

    partition: int
    leader: int
    replicas: list[int]
    isr: list[int]


LISTED_WITHIN_S: Final = 30.0
POLL_INTERVAL_S: Final = 0.05
NEXT_BROKER_AFTER_S: Final = 0.4
"""Far longer than a broker takes, and several times in the time that a readiness probe waits."""


async def ensure_topic(settings: Settings) -> int:
    """Creates the topic if it is missing; returns its number of partitions.

    Raises ConfigurationError when a topic of that name has another number of partitions (changing it would send later
    events of a generation to another partition) or is compacted. Raises TransientError when no broker is reachable.
    """
    async with administering(settings) as admin:
        await _create(admin, settings, settings.events_topic, TOPIC_CONFIGURATION)
        await _refuse_compaction(admin, settings.events_topic)
        return await _checked_partitions(admin, settings) or settings.events_partitions


async def ensure_changelog(settings: Settings, topic: str, configuration: Mapping[str, str]) -> None:
    """Creates the topic if it is missing, with as many partitions as the log. Raises TransientError when no broker is
    reachable."""
    async with administering(settings) as admin:
        await _create(admin, settings, topic, configuration)


async def check_topic(settings: Settings) -> None:
    """Raises ConfigurationError when the topic does not exist or has another number of partitions, TransientError when
    no broker is reachable; one that does not answer is not waited for. Never makes a broker create it."""
    if not await answer_of_any_broker(settings, lambda admin: _checked_partitions(admin, settings)):
        raise ConfigurationError(
            [f"EVENTS_TOPIC: there is no topic {settings.events_topic}: run `gengui-stream migrate`"]
        )


async def answer_of_any_broker(settings: Settings, ask: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    """Asks the brokers in a random order; one that does not answer is not waited for. Raises what `ask` raises, and
    TransientError when no broker is reachable."""

    async def asked(address: str) -> T:
        async with administering(settings, address) as admin:
            return await ask(admin)

    brokers = addresses(settings)
    random.shuffle(brokers)
    return await first_answer([partial(asked, broker) for broker in brokers], NEXT_BROKER_AFTER_S)


@asynccontextmanager
async def administering(settings: Settings, address: str | None = None) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started client, closed at the end. Raises TransientError for every Kafka error inside the block. `address`: the
    one broker that it asks first."""
    shared = connection(settings)
    if address is not None:
        shared["bootstrap_servers"] = [address]
    admin = AIOKafkaAdminClient(**shared)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError) as error:
        raise await no_broker(settings, error) from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, settings: Settings, name: str, configuration: Mapping[str, str]) -> None:
    replicated = {"min.insync.replicas": "2"} if settings.events_replication_factor > 1 else {}
    topic = NewTopic(
        name,
        num_partitions=settings.events_partitions,
        replication_factor=settings.events_replication_factor,
        topic_configs={**configuration, **replicated},
    )
    response = await admin.create_topics([topic])
    for _, code, *_ in response.topic_errors:
        failure = for_code(code)
        if code and failure is not TopicAlreadyExistsError:
            raise failure(name)
    await _until_listed(admin, name)


async def _until_listed(admin: AIOKafkaAdminClient, topic: str) -> None:
    """A broker confirms a new topic some moments before it lists it to clients."""
    async with asyncio.timeout(LISTED_WITHIN_S):
        while not await _partitions(admin, topic):  # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_INTERVAL_S)


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    """0 when there is no such topic, or the broker does not know it yet."""
    return len(await described_partitions(admin, topic))


async def described_partitions(admin: AIOKafkaAdminClient, topic: str) -> Sequence[PartitionDescription]:
    """Empty when there is no such topic. A broker answers with this topic alone, and never creates it: for
    `describe_topics` it would, and the descriptions of all topics cost more with every topic of a cluster."""
    request = MetadataRequest([topic], allow_auto_topic_creation=False)
    response = await admin._send_request(request)  # noqa: SLF001 - listed in ADR 2
    found = [one for one in response.to_object()["topics"] if not one["error_code"]]
    return found[0]["partitions"] if found else []


async def _refuse_compaction(admin: AIOKafkaAdminClient, topic: str) -> None:
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    for *_, entries in response.resources:
        found = {name: value for name, value, *_ in entries}
        if "compact" in (found.get("cleanup.policy") or ""):
            fault = f"EVENTS_TOPIC: {topic} is compacted, which destroys history: set its cleanup.policy to delete"
            raise ConfigurationError([fault])


async def _checked_partitions(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    """0 when there is no such topic. Raises ConfigurationError when the number differs from EVENTS_PARTITIONS."""
    found = await _partitions(admin, settings.events_topic)
    if found and found != settings.events_partitions:
        fault = (
            f"EVENTS_PARTITIONS: is {settings.events_partitions}, but the topic {settings.events_topic} has {found}; "
            "the number is fixed when the topic is created: set it to the topic's number"
        )
        raise ConfigurationError([fault])
    return found
