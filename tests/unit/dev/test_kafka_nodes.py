"""The settings of a broker that is alone, and of one of three."""

from gengui_stream.dev.kafka.properties import Node, server_properties
from gengui_stream.dev.ports import GRPC_DISTANCE


def properties_of(node: Node) -> dict[str, str]:
    lines = server_properties(node, "data").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_a_broker_that_is_alone_replicates_nothing() -> None:
    found = properties_of(Node((12_000,)))
    assert found["controller.quorum.voters"] == f"1@127.0.0.1:{12_000 + GRPC_DISTANCE}"
    assert found["offsets.topic.replication.factor"] == found["transaction.state.log.min.isr"] == "1"


def test_each_of_three_names_all_controllers_and_listens_on_its_own_port() -> None:
    ports = (12_000, 12_001, 12_002)
    nodes = [Node(ports, number) for number in (1, 2, 3)]
    found = [properties_of(node) for node in nodes]
    assert [node.name for node in nodes] == ["kafka-1", "kafka-2", "kafka-3"]
    assert [each["node.id"] for each in found] == ["1", "2", "3"]
    assert [each["advertised.listeners"][-5:] for each in found] == ["12000", "12001", "12002"]
    voters = ",".join(f"{number}@127.0.0.1:{port + GRPC_DISTANCE}" for number, port in enumerate(ports, 1))
    assert {each["controller.quorum.voters"] for each in found} == {voters}
    assert {each["offsets.topic.replication.factor"] for each in found} == {"3"}
    assert {each["share.coordinator.state.topic.min.isr"] for each in found} == {"2"}
