"""Positions in the log: of one record, and a vector with one offset for each partition."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The position of one record, written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises ValueError, naming the expected form, for any other text."""
        partition, separator, offset = text.partition(":")
        if not (separator and _is_number(partition) and _is_number(offset)):
            raise ValueError(f"a position is <partition>:<offset>, such as 2:1041, not {text[:80]!r}")
        return cls(int(partition), int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def format_vector(offsets: Mapping[int, int]) -> str:
    """`0:12,3:400`: the last offset seen of each partition, in the order of the partitions."""
    return ",".join(f"{partition}:{offsets[partition]}" for partition in sorted(offsets))


def parse_vector(text: str) -> dict[int, int]:
    """The reverse of `format_vector`; an empty text gives an empty vector. Raises ValueError for any other text."""
    positions = [Position.parse(part) for part in text.split(",")] if text else []
    if len({position.partition for position in positions}) != len(positions):
        raise ValueError("a vector of positions names each partition once")
    return {position.partition: position.offset for position in positions}
