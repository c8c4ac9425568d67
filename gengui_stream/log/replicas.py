"""Which broker lacks events that the leaders of the log's partitions have."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gengui_stream.log.inspection import PartitionFacts, inspect_partitions
from gengui_stream.settings import Settings


class Broker(NamedTuple):
    """`id`: its `node.id`. `out_of_sync`: the partitions of which it has a replica that is not in sync."""

    id: int
    out_of_sync: Sequence[int]


def brokers_of(partitions: Iterable[PartitionFacts]) -> list[Broker]:
    """Those with a replica, by their ids."""
    behind: dict[int, list[int]] = {}
    for one in partitions:
        for broker in one.replicas:
            own = behind.setdefault(broker, [])
            if broker not in one.in_sync:
                own.append(one.number)
    return [Broker(*found) for found in sorted(behind.items())]


async def replica_brokers(settings: Settings) -> list[Broker]:
    """Of the topic of the log. Raises TransientError when no broker is reachable."""
    return brokers_of(await inspect_partitions(settings))
