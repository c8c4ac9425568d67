"""An assignor that remembers which topics it had no partitions of.

The leader of a group hands out what the broker's metadata say. A broker that was asked at a bad moment refuses them,
and then there is nothing to hand out. aiokafka joins again once it learns better, and Apache Kafka lets the leader
assign anew; but who joins the embedded broker's group again without having left it gets what he had before.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol


class Cluster(Protocol):
    """What a client knows of the brokers and topics."""

    def partitions_for_topic(self, topic: str) -> set[int] | None: ...


class Member(Protocol):
    """What a member told of itself."""

    @property
    def subscription(self) -> Iterable[str]: ...


class Assignor(Protocol):
    """As aiokafka calls it; what it hands out is its own affair."""

    @property
    def name(self) -> str: ...

    def metadata(self, topics: Iterable[str]) -> object: ...

    def assign(self, cluster: Cluster, members: Mapping[str, Member]) -> object: ...

    def on_assignment(self, assignment: object) -> None: ...


class WatchfulAssignor:
    """Assigns as `assignor` does."""

    def __init__(self, assignor: Assignor) -> None:
        self._assignor = assignor
        self.unknown: frozenset[str] = frozenset()
        """The topics whose partitions were not known when they were last handed out here."""

    @property
    def name(self) -> str:
        return self._assignor.name

    def metadata(self, topics: Iterable[str]) -> object:
        return self._assignor.metadata(topics)

    def assign(self, cluster: Cluster, members: Mapping[str, Member]) -> object:
        topics = {topic for member in members.values() for topic in member.subscription}
        self.unknown = frozenset(topic for topic in topics if not cluster.partitions_for_topic(topic))
        return self._assignor.assign(cluster, members)

    def on_assignment(self, assignment: object) -> None:
        self._assignor.on_assignment(assignment)
