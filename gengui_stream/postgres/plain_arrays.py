"""Cheaper arrays for PostgreSQL, for a process that sends millions of elements.

asyncpg checks whether each element of an array is itself a collection, with `collections.abc.Iterable` and `Sized`,
which search a registry of classes: a third of the cost of sending an array. Where every array is a list of scalars,
`list` gives the same result. asyncpg 0.30 and 0.31 look the two up in their module under these names
(protocol/codecs/array.pyx).
"""

from typing import Final

from asyncpg.protocol import protocol

ASKED: Final = ("IterableABC", "SizedABC")


def arrays_are_lists() -> None:
    """Affects the whole process: from now on arrays must be lists; any other collection raises a DataError."""
    vars(protocol).update(dict.fromkeys(ASKED, list))
