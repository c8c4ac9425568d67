"""The one topic, created with the settings the laws ask for; an existing one is checked, never changed."""

from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.log.connection import connection
from gengui_stream.settings import Settings

TOPIC_CONFIGURATION: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": "1100000",
}
"""Kept for ever and never compacted: compaction would destroy history and leave gaps (law 1)."""


async def ensure_topic(settings: Settings) -> int:
    """Creates the topic where it is missing and returns its number of partitions.

    Raises ConfigurationError when a topic of that name has another number of partitions: changing it would send
    later events of a generation to another partition. Raises TransientError when no broker answers.
    """
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        await _create(admin, settings)
        return await _checked_partitions(admin, settings)
    except (KafkaError, OSError) as error:
        raise TransientError(f"the topic could not be ensured: {error!r}") from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    configuration = dict(TOPIC_CONFIGURATION)
    if settings.events_replication_factor > 1:
        configuration["min.insync.replicas"] = "2"
    topic = NewTopic(
        settings.events_topic,
        num_partitions=settings.events_partitions,
        replication_factor=settings.events_replication_factor,
        topic_configs=configuration,
    )
    response = await admin.create_topics([topic])
    for _, code, *_ in response.topic_errors:
        failure = for_code(code)
        if code and failure is not TopicAlreadyExistsError:
            raise failure(settings.events_topic)


async def _checked_partitions(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    [described] = await admin.describe_topics([settings.events_topic])
    found = len(described["partitions"])
    if found and found != settings.events_partitions:
        fault = (
            f"EVENTS_PARTITIONS: is {settings.events_partitions}, but the topic {settings.events_topic} has {found}; "
            "the number is fixed when the topic is made: set it to the topic's own"
        )
        raise ConfigurationError([fault])
    return found
