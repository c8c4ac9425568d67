from collections.abc import Collection

from aiokafka.protocol.produce import ProduceRequest, ProduceResponse

class _Broker:
    nodeId: int

class _Cluster:
    def brokers(self) -> Collection[_Broker]: ...

class AIOKafkaClient:
    cluster: _Cluster

    def __init__(
        self,
        *,
        bootstrap_servers: list[str],
        metadata_max_age_ms: int = ...,
        security_protocol: str = ...,
        sasl_mechanism: str = ...,
        sasl_plain_username: str | None = ...,
        sasl_plain_password: str | None = ...,
        ssl_context: object = ...,
    ) -> None: ...
    async def bootstrap(self) -> None: ...
    async def send(self, node_id: int, request: ProduceRequest) -> ProduceResponse: ...
    async def close(self) -> None: ...
