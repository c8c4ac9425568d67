"""Arrays for PostgreSQL at a lower price, for a process that sends millions of elements.

asyncpg asks each element of an array whether it is a collection itself, by `collections.abc.Iterable` and `Sized`,
which look into a registry of classes: a third of what sending an array costs. Where every array is a list of scalars,
`list` answers the same. asyncpg 0.30 and 0.31 look the two up in their module by these names
(protocol/codecs/array.pyx).
"""

from typing import Final

from asyncpg.protocol import protocol

ASKED: Final = ("IterableABC", "SizedABC")


def arrays_are_lists() -> None:
    """From now on, for the whole process: an array is a list, and any other collection is refused with a DataError."""
    vars(protocol).update(dict.fromkeys(ASKED, list))
