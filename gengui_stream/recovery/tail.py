"""Selects records of the log as it is read: by type, generation, owner and provider.

Few events name the owner or the provider. What the events before them named is remembered, and what was named before
the tail began is looked up in the projections, one statement for all unknown generations of a fetch.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from gengui_stream.log.codec import Decoded, Undecodable, UnknownType, decode_record, named_type
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.postgres.pool import Pool, transient_errors
from schemas.events import GenerationAccepted, GenerationDispatched, GenerationRequested

REMEMBERED: Final = 100_000
"""Generations, of 200 bytes each."""

KNOWN: Final = """
SELECT generation_id, r.owner_id, s.provider
FROM projections.generation_requests r JOIN projections.generation_states s USING (generation_id)
WHERE generation_id = ANY($1)
"""


class Named(NamedTuple):
    """The owner of a generation, and the provider of its latest attempt; None while unknown."""

    owner: UUID | None = None
    provider: str | None = None


UNNAMED: Final = Named()


@dataclass(frozen=True, slots=True, kw_only=True)
class TailFilter:
    """None, and no type: no condition."""

    types: Collection[str] = ()
    generation: UUID | None = None
    owner: UUID | None = None
    provider: str | None = None

    @property
    def needs_names(self) -> bool:
        return self.owner is not None or self.provider is not None

    def admits(self, record: LogRecord, type_: str, named: Named) -> bool:
        """`named`: once the event of the record is known."""
        mine = self.generation is None or record.key == str(self.generation).encode()
        owned = self.owner in {None, named.owner} and self.provider in {None, named.provider}
        return mine and owned and (not self.types or type_ in self.types)


class Tail:
    """Fed with the records of the log in their order. `pool`: needed by a filter of owners or providers."""

    def __init__(self, wanted: TailFilter, pool: "Pool | None") -> None:
        self._wanted = wanted
        self._pool = pool
        self._names: dict[UUID, Named] = {}

    async def select(self, records: Sequence[LogRecord]) -> AsyncIterator[tuple[LogRecord, Decoded, str]]:
        """The selected records with what they decode to, and their type; of one that cannot be decoded, the reason in
        brackets. Raises TransientError when PostgreSQL is unavailable."""
        decoded = [decode_record(record) for record in records]
        if self._wanted.needs_names:
            await self._look_up(decoded)
        for record, event in zip(records, decoded, strict=True):
            type_ = named_type(event)
            if self._wanted.admits(record, type_, self._named(event)):
                yield record, event, type_

    async def _look_up(self, decoded: Sequence[Decoded]) -> None:
        unknown = {each.generation_id for each in decoded if each.generation_id is not None}.difference(self._names)
        unknown -= {each.generation_id for each in decoded if isinstance(each, GenerationRequested)}
        if unknown and self._pool is not None:
            with transient_errors():
                rows = await self._pool.fetch(KNOWN, list(unknown))
            self._names |= {row["generation_id"]: Named(row["owner_id"], row["provider"]) for row in rows}

    def _named(self, event: Decoded) -> Named:
        """Also remembers what the event names."""
        generation_id = event.generation_id
        if generation_id is None or not self._wanted.needs_names:
            return UNNAMED
        named = self._names.get(generation_id, UNNAMED)
        if isinstance(event, GenerationRequested):
            named = Named(event.owner_id, event.provider)
        elif isinstance(event, GenerationDispatched | GenerationAccepted):
            named = named._replace(provider=event.provider)
        if not isinstance(event, Undecodable | UnknownType) and named is not UNNAMED:
            self._names.pop(generation_id, None)
            self._names[generation_id] = named
            if len(self._names) > REMEMBERED:
                del self._names[next(iter(self._names))]
        return named
