"""A temporary SQLite database on disk: what a verification would otherwise hold in memory.

It keeps the state of every generation at the offset that the fold has reached, the counts, and a copy of the rows of
PostgreSQL that change, each with the checkpoint of its partition in the snapshot that it was read in.
"""

import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from gengui_stream.domain.generation.state import Generation

SCHEMA: Final = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
CREATE TABLE generations (partition INT, generation_id TEXT, document BLOB, open INT, rows INT,
    PRIMARY KEY (partition, generation_id)) WITHOUT ROWID;
CREATE INDEX open_generations ON generations (partition, generation_id) WHERE open;
CREATE TABLE counts (name TEXT, partition INT, key TEXT, measure TEXT, number INT,
    PRIMARY KEY (name, partition, key, measure)) WITHOUT ROWID;
CREATE TABLE found (name TEXT, partition INT, key TEXT, position INT, row BLOB, matched INT DEFAULT 0,
    PRIMARY KEY (name, partition, key)) WITHOUT ROWID;
CREATE INDEX found_at ON found (partition, position, name);
CREATE TABLE lost_jobs (partition INT, key TEXT, generation_id TEXT, PRIMARY KEY (partition, key)) WITHOUT ROWID;
"""

SAVE: Final = """
INSERT INTO generations VALUES (?, ?, ?, ?, 0)
ON CONFLICT (partition, generation_id) DO UPDATE SET document = excluded.document, open = excluded.open
"""

ADD_ROWS: Final = "UPDATE generations SET rows = rows + ? WHERE partition = ? AND generation_id = ?"

LOAD: Final = """
SELECT generation_id, document FROM generations
WHERE partition = ? AND generation_id IN (SELECT value FROM json_each(?))
"""

COUNT: Final = """
INSERT INTO counts VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name, partition, key, measure) DO UPDATE SET number = number + excluded.number
"""

FOUND_JOBS: Final = """
SELECT key, row FROM found WHERE name = 'jobs' AND partition = ? AND position > ? AND NOT matched
    AND key IN (SELECT value FROM json_each(?))
"""

FOUND_STATES: Final = """
SELECT key, row, document FROM found f LEFT JOIN generations g ON g.partition = f.partition AND generation_id = key
WHERE f.partition = ? AND position = ? AND name = 'generation_states'
"""

FOUND_COUNTS: Final = """
SELECT f.key, row, (SELECT json_group_object(measure, number) FROM counts c
    WHERE c.name = f.name AND c.partition = f.partition AND c.key = f.key)
FROM found f WHERE f.partition = ? AND position = ? AND f.name = ?
"""

SURPLUS_TIMELINES: Final = """
SELECT key, coalesce(rows, 0)
FROM found f LEFT JOIN generations g ON g.partition = f.partition AND generation_id = key
WHERE f.partition = ? AND name = 'timeline' AND row > coalesce(rows, 0)
"""

OPEN_STATES: Final = "SELECT document FROM generations WHERE open AND partition = ? ORDER BY generation_id"

MISSING_STATES: Final = """
SELECT generation_id, document FROM generations g WHERE partition = ? AND NOT EXISTS (
    SELECT * FROM found f WHERE name = 'generation_states' AND f.partition = g.partition AND key = generation_id)
"""

MISSING_COUNTS: Final = """
SELECT DISTINCT key FROM counts c WHERE name = ? AND partition = ? AND NOT EXISTS (
    SELECT * FROM found f WHERE f.name = c.name AND f.partition = c.partition AND f.key = c.key)
"""


class Progress(NamedTuple):
    """What the fold knows of a generation. `changed_at`: the offset of the last event that changed the state."""

    state: Generation | None = None
    changed_at: int = -1
    unrequested: tuple[UUID, ...] = ()
    parked: bool = False


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row of PostgreSQL. `position`: the checkpoint of its partition when it was read; `key` and `row`: JSON."""

    name: str
    partition: int
    key: str
    position: int
    row: bytes | int


_progress: Final = TypeAdapter(Progress)


class Staging:
    """Every method is sync and takes or returns what fits in memory, or an iterator."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def load(self, partition: int, ids: Collection[UUID]) -> dict[UUID, Progress]:
        rows = self._database.execute(LOAD, (partition, orjson.dumps(list(ids)).decode()))
        return {UUID(key): _progress.validate_json(document) for key, document in rows}

    def save(self, partition: int, known: Mapping[UUID, Progress]) -> None:
        rows = (
            (partition, str(key), _progress.dump_json(item), item.state is not None and not item.state.settled)
            for key, item in known.items()
        )
        self._database.executemany(SAVE, rows)

    def add_rows(self, partition: int, rows: Mapping[UUID, int]) -> None:
        """Counts the rows of the timeline that are as they should be."""
        self._database.executemany(ADD_ROWS, ((number, partition, str(key)) for key, number in rows.items()))

    def count(self, name: str, partition: int, counts: Mapping[tuple[str, str], int]) -> None:
        """Adds to counts, by key and measure."""
        self._database.executemany(COUNT, ((name, partition, *key, number) for key, number in counts.items()))

    def put(self, rows: Iterable[FoundRow]) -> None:
        """A row that moved while the pages were read may come twice: the later one replaces it."""
        values = ((row.name, row.partition, row.key, row.position, row.row) for row in rows)
        self._database.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, 0)", values)

    def positions(self, partition: int) -> set[int]:
        """The checkpoints at which rows of the partition were read."""
        rows = self._database.execute("SELECT DISTINCT position FROM found WHERE partition = ?", (partition,))
        return {position for (position,) in rows}

    def states_at(self, partition: int, position: int) -> Iterator[tuple[str, bytes, Progress | None]]:
        """Key, row, and what the fold knows of the generation."""
        for key, row, document in self._database.execute(FOUND_STATES, (partition, position)):
            yield key, row, None if document is None else _progress.validate_json(document)

    def counts_at(self, name: str, partition: int, position: int) -> Iterator[tuple[str, bytes, dict[str, int]]]:
        """Key, row, and the expected number of each measure."""
        for key, row, counts in self._database.execute(FOUND_COUNTS, (partition, position, name)):
            yield key, row, orjson.loads(counts)

    def missing_states(self, partition: int) -> Iterator[str]:
        for key, document in self._database.execute(MISSING_STATES, (partition,)):
            if _progress.validate_json(document).state is not None:
                yield key

    def missing_counts(self, name: str, partition: int) -> Iterator[str]:
        for (key,) in self._database.execute(MISSING_COUNTS, (name, partition)):
            yield key

    def surplus_timelines(self, partition: int) -> Iterator[tuple[str, int]]:
        """Generations with more rows than were compared, and how many were compared."""
        yield from self._database.execute(SURPLUS_TIMELINES, (partition,))

    def open_states(self, partition: int) -> Iterator[Generation]:
        for (document,) in self._database.execute(OPEN_STATES, (partition,)):
            state = _progress.validate_json(document).state
            if state is not None:
                yield state

    def unmatched_jobs(self, partition: int, before: int, keys: Collection[str]) -> dict[str, bytes]:
        """The rows of these jobs that were read when the checkpoint was past the offset `before`."""
        arguments = (partition, before, orjson.dumps(list(keys)).decode())
        return dict(self._database.execute(FOUND_JOBS, arguments).fetchall())

    def match_jobs(self, partition: int, keys: Iterable[str]) -> None:
        query = "UPDATE found SET matched = 1 WHERE name = 'jobs' AND partition = ? AND key = ?"
        self._database.executemany(query, ((partition, key) for key in keys))

    def jobs_never_due(self, partition: int) -> Iterator[str]:
        query = "SELECT key FROM found WHERE name = 'jobs' AND partition = ? AND NOT matched"
        for (key,) in self._database.execute(query, (partition,)):
            yield key

    def has_job(self, partition: int, key: str) -> bool:
        query = "SELECT 1 FROM found WHERE name = 'jobs' AND partition = ? AND key = ?"
        return self._database.execute(query, (partition, key)).fetchone() is not None

    def lose_jobs(self, partition: int, jobs: Iterable[tuple[str, UUID]]) -> None:
        """Keeps jobs that are due and were not found, with their generation."""
        rows = ((partition, key, str(generation_id)) for key, generation_id in jobs)
        self._database.executemany("INSERT INTO lost_jobs VALUES (?, ?, ?)", rows)

    def has_lost_jobs(self, partition: int) -> bool:
        query = "SELECT 1 FROM lost_jobs WHERE partition = ?"
        return self._database.execute(query, (partition,)).fetchone() is not None

    def lost_jobs(self, partition: int) -> Iterator[tuple[str, Generation | None]]:
        """The jobs kept by `lose_jobs`, with the state of their generation."""
        query = """SELECT key, document FROM lost_jobs JOIN generations USING (partition, generation_id)
            WHERE partition = ? ORDER BY key"""
        for key, document in self._database.execute(query, (partition,)):
            yield key, _progress.validate_json(document).state


@contextmanager
def opened_staging() -> Iterator[Staging]:
    """In the directory for temporary files (TMPDIR), removed at the end. Some 2 KB a generation."""
    with (
        tempfile.TemporaryDirectory(prefix="gengui-verify-") as directory,
        closing(sqlite3.connect(Path(directory, "staging.db"))) as database,
    ):
        database.executescript(SCHEMA)
        yield Staging(database)
