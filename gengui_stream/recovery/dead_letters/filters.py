"""Selects dead letters by reason, generation, owner, type, and place in the log."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.log.codec import as_document
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.projections.dead_letters import MATCHING
from gengui_stream.recovery.dead_letters.letters import DeadLetter

PAGE: Final = 500
BEFORE_ALL: Final = Position(0, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """None: no condition. `first_offset` and `last_offset` are inclusive; `since` is, `until` is not; both are of the
    append. `resolved`: also those that were retried or discarded; `parked`: also events behind another."""

    reason: str | None = None
    generation: UUID | None = None
    owner: UUID | None = None
    type: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    resolved: bool = False
    parked: bool = False

    @property
    def conditions(self) -> dict[str, str]:
        """By name, as an operator gave them."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: str(value) for name, value in every.items() if value is not None and value is not False}

    def admits(self, letter: DeadLetter, owner_id: UUID | None) -> bool:
        """`owner_id`: of its generation, if that was requested."""
        if self.type is None and self.owner is None:
            return True
        document = document_of(letter)
        owner = document.get("owner_id") if owner_id is None else owner_id
        named = self.type is None or document.get("type") == self.type
        return named and (self.owner is None or str(owner) == str(self.owner))


def document_of(letter: DeadLetter) -> dict[str, object]:
    """The value of its record as JSON; empty when it is no object."""
    try:
        found = as_document((letter.value or b"").decode())
    except ValueError:
        return {}
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def type_of(letter: DeadLetter) -> str | None:
    """The type that its record names, whether or not there is one."""
    found = document_of(letter).get("type")
    return found if isinstance(found, str) else None


async def listed(pool: Pool, topic: str, wanted: LetterFilter, *, limit: int) -> list[DeadLetter]:
    """The first ones, in the order of the log. Raises TransientError when PostgreSQL is unavailable."""
    return [letter async for letter in matching(pool, topic, wanted, limit=limit)]


async def matching(
    pool: Pool, topic: str, wanted: LetterFilter, *, after: Position = BEFORE_ALL, limit: int | None = None
) -> AsyncIterator[DeadLetter]:
    """In the order of the log. Each page is read when it is needed. Raises TransientError when PostgreSQL is
    unavailable."""
    left = limit
    while True:
        rows = await _page(pool, topic, wanted, after)
        for row in rows:
            letter = DeadLetter(*list(row.values())[:-1])
            if wanted.admits(letter, row["owner_id"]):
                yield letter
                left = None if left is None else left - 1
                if left == 0:
                    return
        if len(rows) < PAGE:
            return
        after = Position(rows[-1]["partition"], rows[-1]["log_offset"])


async def _page(pool: Pool, topic: str, wanted: LetterFilter, after: Position) -> Sequence[asyncpg.Record]:
    place = (wanted.partition, wanted.first_offset, wanted.last_offset, wanted.since, wanted.until)
    owner = None if wanted.owner is None else str(wanted.owner).encode()
    contained = (wanted.owner, owner, None if wanted.type is None else wanted.type.encode())
    chosen = (wanted.resolved, wanted.parked, wanted.reason, wanted.generation, *place, *contained)
    with transient_errors():
        return await pool.fetch(MATCHING, topic, *chosen, after.partition, after.offset, PAGE)
