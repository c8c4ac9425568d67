"""The partition of a generation: that of Java's default partitioner, which every producer of this system uses.

Clients on librdkafka (C, Go, .NET, Node) choose another one by default: their records arrive on any partition.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

REMEMBERED: Final = 16_384
"""Hashing a key takes some 10 µs, and only the first event of a generation needs it."""


@dataclass(frozen=True, slots=True)
class PartitionPlace:
    """One partition of the log, and their number."""

    partition: int
    partitions: int

    def is_stray(self, key: bytes) -> bool:
        """Whether a record with this key belongs on another partition."""
        return partition_of(key, self.partitions) != self.partition


@lru_cache(REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions
