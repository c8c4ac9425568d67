"""The topic: created with the settings that the laws require, and only checked if it exists."""

from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.metadata import MetadataRequest_v5

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.log.connection import connection
from gengui_stream.log.topics import check_topic, described_partitions, ensure_topic
from gengui_stream.settings import Settings

pytestmark = pytest.mark.stack

LAWS: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


async def configuration(settings: Settings) -> dict[str, str | None]:
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.events_topic)])
        [(code, _, _, _, entries)] = response.resources
        assert code == 0
        return {name: value for name, value, *_ in entries}
    finally:
        await admin.close()


async def test_it_is_kept_forever_and_never_compacted(settings: Settings) -> None:
    found = await configuration(settings)
    assert {name: found[name] for name in LAWS} == LAWS
    assert int(found["max.message.bytes"] or 0) >= 1_048_576


async def test_one_that_is_there_is_left_as_it_is(settings: Settings) -> None:
    before = await configuration(settings)
    assert await ensure_topic(settings) == settings.events_partitions
    await check_topic(settings)
    assert await configuration(settings) == before


async def test_another_number_of_partitions_is_refused(settings: Settings) -> None:
    more = settings.model_copy(update={"events_partitions": settings.events_partitions + 1})
    for ask in (ensure_topic, check_topic):
        with pytest.raises(ConfigurationError, match=r"EVENTS_PARTITIONS: is 5, but the topic .* has 4"):
            await ask(more)


async def test_asking_for_one_does_not_make_it(settings: Settings) -> None:
    other = settings.model_copy(update={"events_topic": f"{settings.events_topic}-not"})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="there is no topic"):
            await check_topic(other)


class RecordingAdmin(AIOKafkaAdminClient):
    """Keeps what it asked and was answered."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(**connection(settings))
        self.exchanged: list[tuple[Request, Response]] = []

    async def _send_request(self, request: Request, node_id: int | None = None) -> Response:
        response = await super()._send_request(request, node_id)
        self.exchanged.append((request, response))
        return response


async def test_only_the_topic_itself_is_asked_for_and_no_broker_may_create_it(settings: Settings) -> None:
    admin = RecordingAdmin(settings)
    await admin.start()
    try:
        found = await described_partitions(admin, settings.events_topic)
    finally:
        await admin.close()
    assert sorted(one["partition"] for one in found) == [0, 1, 2, 3]
    [(request, response)] = admin.exchanged
    assert request.build(MetadataRequest_v5).allow_auto_topic_creation is False
    assert [one["topic"] for one in response.to_object()["topics"]] == [settings.events_topic]


async def test_a_compacted_one_is_refused(settings: Settings) -> None:
    """Compaction destroys history and leaves gaps."""
    compacted = settings.model_copy(update={"events_topic": f"{settings.events_topic}-compacted"})
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        kind = {"cleanup.policy": "compact"}
        topic = NewTopic(compacted.events_topic, num_partitions=4, replication_factor=1, topic_configs=kind)
        await admin.create_topics([topic])
    finally:
        await admin.close()
    with pytest.raises(ConfigurationError, match=r"cleanup\.policy"):
        await ensure_topic(compacted)


async def test_no_broker_may_pass(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    for ask in (ensure_topic, check_topic):
        with pytest.raises(TransientError, match=r"no broker at 127\.0\.0\.1:1"):
            await ask(away)
