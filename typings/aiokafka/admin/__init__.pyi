from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import NamedTuple, TypedDict

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource
from aiokafka.protocol.api import Request, Response

class OffsetAndMetadata(NamedTuple):
    offset: int
    metadata: str

class NewTopic:
    def __init__(
        self,
        name: str,
        num_partitions: int,
        replication_factor: int,
        replica_assignments: Mapping[int, Sequence[int]] | None = None,
        topic_configs: Mapping[str, str] | None = None,
    ) -> None: ...

class RecordsToDelete:
    def __init__(self, before_offset: int) -> None: ...

class CreateTopicsResponse:
    topic_errors: Sequence[tuple[str, int] | tuple[str, int, str | None]]

class DescribedCluster(TypedDict):
    brokers: list[tuple[object, ...]]

class DescribeGroupsResponse:
    # error code, group, state, protocol type, protocol, members
    groups: Sequence[tuple[int, str, str, str, str, Sequence[object]]]

class DescribeConfigsResponse:
    resources: Sequence[tuple[int, str | None, int, str, Sequence[tuple[str, str | None, bool, bool, bool]]]]

class AIOKafkaAdminClient:
    def __init__(
        self,
        *,
        bootstrap_servers: Sequence[str],
        metadata_max_age_ms: int = ...,
        client_id: str = ...,
        request_timeout_ms: int = 40000,
        security_protocol: str = "PLAINTEXT",
        ssl_context: SSLContext | None = None,
        sasl_mechanism: str = "PLAIN",
        sasl_plain_username: str | None = None,
        sasl_plain_password: str | None = None,
    ) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def create_topics(self, new_topics: Sequence[NewTopic]) -> CreateTopicsResponse: ...
    async def delete_topics(self, topics: Sequence[str]) -> object: ...
    async def _send_request(self, request: Request, node_id: int | None = None) -> Response: ...
    async def describe_cluster(self) -> DescribedCluster: ...
    async def describe_consumer_groups(self, group_ids: Sequence[str]) -> list[DescribeGroupsResponse]: ...
    async def list_consumer_group_offsets(self, group_id: str) -> dict[TopicPartition, OffsetAndMetadata]: ...
    async def describe_configs(self, config_resources: Sequence[ConfigResource]) -> list[DescribeConfigsResponse]: ...
    async def delete_records(
        self, records_to_delete: Mapping[TopicPartition, RecordsToDelete]
    ) -> dict[TopicPartition, int]: ...
