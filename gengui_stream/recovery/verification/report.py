"""The report of a verification: the rows compared, and the differences between database and log."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

SAMPLES: Final = 20
"""Differences described for each table; all are counted."""

WIDEST: Final = 200
"""Characters shown of a value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row or count that differs from the fold. `what`: the columns with both values."""

    table: str
    key: str
    what: str


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """The records of one partition by outcome, according to the fold."""

    partition: int
    start_offset: int
    next_offset: int
    applied: int
    ignored: int
    dead_lettered: int


@dataclass(slots=True)
class Report:
    """Filled during a verification."""

    partitions: list[PartitionCount] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Difference] = field(default_factory=list)
    events: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    pruned: int = 0
    """Rows of the timeline that retention removed."""

    @property
    def agrees(self) -> bool:
        return not self.counts

    def add(self, table: str, key: str, what: str) -> None:
        self.counts[table] += 1
        if self.counts[table] <= SAMPLES:
            self.samples.append(Difference(table, key, what))

    def missing(self, table: str, key: str) -> None:
        self.add(table, key, "the row is missing")

    def unexpected(self, table: str, key: str) -> None:
        self.add(table, key, "the row should not be there")

    def compare(
        self, table: str, key: str, columns: Sequence[str], expected: Sequence[object], found: Sequence[object]
    ) -> None:
        """Compares one row; both sequences are in the order of `columns`."""
        self.rows[table] += 1
        if tuple(expected) == tuple(found):
            return
        wrong = [
            f"{column} is {_shown(there)}, should be {_shown(due)}"
            for column, due, there in zip(columns, expected, found, strict=True)
            if due != there
        ]
        self.add(table, key, "; ".join(wrong))

    def as_json(self) -> dict[str, object]:
        return {
            "agrees": self.agrees,
            "events": self.events,
            "rows": dict(self.rows),
            "pruned": self.pruned,
            "partitions": [asdict(partition) for partition in self.partitions],
            "differences": dict(self.counts),
            "samples": [asdict(difference) for difference in self.samples],
        }


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, bytes) or value is None else str(value)
    text = repr(text) if isinstance(value, str) else text  # a status as the database has it, not as an enumeration
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def compare_rows(
    report: Report,
    table: str,
    columns: Sequence[str],
    *,
    key: Iterable[int],
    expected: Iterable[Sequence[object]],
    found: Iterable[Sequence[object]],
) -> None:
    """Compares two sets of rows with the same columns, matched by the columns whose indexes are in `key`."""
    indexes = tuple(key)
    unseen = {tuple(row[index] for index in indexes): row for row in expected}
    for row in found:
        name = tuple(row[index] for index in indexes)
        due = unseen.pop(name, None)
        if due is None:
            report.unexpected(table, _named(columns, indexes, name))
        else:
            report.compare(table, _named(columns, indexes, name), columns, due, tuple(row))
    for name in unseen:
        report.missing(table, _named(columns, indexes, name))


def _named(columns: Sequence[str], indexes: Sequence[int], values: Sequence[object]) -> str:
    return " ".join(f"{columns[index]}={value}" for index, value in zip(indexes, values, strict=True))
