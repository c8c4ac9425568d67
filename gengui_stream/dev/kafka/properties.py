"""The settings of a small broker that is its own controller: few threads, few internal partitions."""

from dataclasses import dataclass
from typing import Final

from gengui_stream.dev.ports import GRPC_DISTANCE

CLUSTER_ID: Final = "Z2VuZ3VpLXN0cmVhbS0wMQ"
"""Sixteen bytes in base64, always the same: one of 64 random ones begins with a dash and is taken for an option."""

NODE_ID: Final = 1
"""Of the first broker of a cluster, and of one that is alone."""

REPLICAS_MAX: Final = 3
"""Of internal topics."""

PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
# Below the working directory: a comma in a path would make two of it.
log.dirs={logs}

# A topic that is used before it is made is a mistake, as it is in production.
auto.create.topics.enable=false

# No need for the usual 50 partitions of each internal topic.
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={replicas_min}
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={replicas_min}
share.coordinator.state.topic.num.partitions=1

# After a kill, the controller lets the broker in again only once its session has ended.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# A new group would wait 3 s for further members.
group.initial.rebalance.delay.ms=0

# Memory and threads of a laptop that does other things. The index files are made at their full size.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.segment.bytes=134217728
metadata.max.idle.interval.ms=0
log.index.size.max.bytes=1048576
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One broker of a cluster. `ports`: of all brokers, in the order of their node ids, which begin with NODE_ID."""

    ports: tuple[int, ...]
    node_id: int = NODE_ID

    @property
    def port(self) -> int:
        return self.ports[self.node_id - NODE_ID]

    @property
    def alone(self) -> bool:
        return len(self.ports) == 1

    @property
    def name(self) -> str:
        """Of its process."""
        return "kafka" if self.alone else f"kafka-{self.node_id}"


def controller_port(port: int) -> int:
    """It is reserved together with `port`."""
    return port + GRPC_DISTANCE


def server_properties(node: Node, logs: str) -> str:
    """`logs`: the name of the log's directory."""
    voters = (f"{node_id}@127.0.0.1:{controller_port(port)}" for node_id, port in enumerate(node.ports, NODE_ID))
    replicas = min(REPLICAS_MAX, len(node.ports))
    return PROPERTIES.format(
        node_id=node.node_id,
        port=node.port,
        controller_port=controller_port(node.port),
        voters=",".join(voters),
        replicas=replicas,
        replicas_min=min(2, replicas),
        logs=logs,
    )
