"""Three brokers of Apache Kafka in one cluster, each a process, and which of them has which duty."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from gengui_stream.dev.kafka.properties import NODE_ID, Node
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.dev.ports import free_port

Duty: TypeAlias = Literal["leader", "controller", "coordinator"]
DUTIES: Final = get_args(Duty)

BROKERS: Final = 3
GROUPS_TOPIC: Final = "__consumer_offsets"
ANSWER_S: Final = 5.0
LOOK_EVERY_S: Final = 0.3
STABLE: Final = 3
"""Times in a row: a broker that has just been resumed answers what it knew before."""

QUIET: Final = {"log_level": 0, "socket.connection.setup.timeout.ms": 2_000, "socket.timeout.ms": 3_000}
"""librdkafka prints a line for each broker that does not answer, which is what happens here."""


class Cluster:
    """Data and logs are below `directory`. The methods that ask the brokers block."""

    def __init__(self, directory: Path) -> None:
        ports = tuple(free_port() for _ in range(BROKERS))
        nodes = [Node(ports, number) for number in range(NODE_ID, NODE_ID + BROKERS)]
        self._data = {node.name: directory / node.name for node in nodes}
        self.servers: Sequence[KafkaServer] = [
            KafkaServer(self._data[node.name], directory / "logs" / f"{node.name}.log", node=node) for node in nodes
        ]

    @property
    def addresses(self) -> str:
        return ",".join(server.address for server in self.servers)

    @property
    def environ(self) -> Mapping[str, str]:
        """The settings of a process that uses the cluster."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.addresses, "EVENTS_REPLICATION_FACTOR": str(BROKERS)}

    async def start(self) -> None:
        async with asyncio.TaskGroup() as starting:
            for server in self.servers:
                starting.create_task(server.start())

    async def kill(self) -> None:
        for server in self.servers:
            await server.kill()

    def server(self, name: str) -> KafkaServer:
        return next(server for server in self.servers if server.child.name == name)

    def leader(self, topic: str, partition: int) -> str:
        """The name of the broker."""
        return self._name(self._admin().list_topics(topic, timeout=ANSWER_S).topics[topic].partitions[partition].leader)

    def coordinator(self, group: str) -> str:
        admin = self._admin()  # a client that ends resolves none of its futures
        described = admin.describe_consumer_groups([group], request_timeout=ANSWER_S)[group].result(2 * ANSWER_S)
        return self._name(described.coordinator.id)

    def controller(self) -> str:
        """By the last election that a broker has written down: clients are not told who leads the controllers."""
        states = [
            json.loads(path.read_text()) for data in self._data.values() if (path := _quorum_state(data)).exists()
        ]
        return self._name(max(states, key=lambda state: int(state["leaderEpoch"]))["leaderId"])

    async def until_in_sync(self, topics: Sequence[str], *, within_s: float) -> bool:
        """Whether every replica of these topics is in sync, after the wait."""
        ends, in_sync = time.monotonic() + within_s, 0
        while in_sync < STABLE:
            if time.monotonic() > ends:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
            in_sync = in_sync + 1 if await asyncio.to_thread(lambda: all(map(self._is_in_sync, topics))) else 0
        return True

    def _is_in_sync(self, topic: str) -> bool:
        try:
            found = self._admin().list_topics(topic, timeout=ANSWER_S).topics[topic].partitions
        except KafkaException:
            return False
        return bool(found) and all(len(one.isrs) == BROKERS and one.leader >= 0 for one in found.values())

    def _admin(self) -> AdminClient:
        """A new one, which knows nothing of before."""
        return AdminClient({"bootstrap.servers": self.addresses, **QUIET})

    def _name(self, node_id: int) -> str:
        return self.servers[node_id - NODE_ID].child.name


def _quorum_state(data: Path) -> Path:
    return data / "data" / "__cluster_metadata-0" / "quorum-state"
