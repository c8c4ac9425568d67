"""The state that the owner of a partition keeps between two batches."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, TypeAlias
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.postgres.pool import Fetcher, Pool
from gengui_stream.projecting.checkpoints import Claim
from gengui_stream.projecting.dead_letter_limits import DeadLetterCount
from gengui_stream.projections import generation_states, timeline
from gengui_stream.projections.timeline import UnrequestedEvents

CACHED_STATES: Final = 50_000
"""States kept in memory for each partition, 1 to 2 KiB each, of generations that are not settled. Events of settled
ones are rare and load the state from the database. Only the owner changes a state, so the cache is never stale."""


@dataclass(slots=True)
class OwnedPartition:
    """`parked`: the generations with an open dead letter. `in_doubt`: the outcome of the last commit is unknown, and
    the other fields must be restored before they are used.

    `paused`: an operator has ordered a pause, and no record is projected.

    `log_end`: the end of the log when the partition was claimed or resumed. Until the checkpoint reaches it the states
    are behind the log, and no job is made; `live` once the jobs have been made from the states."""

    claim: Claim
    parked: set[UUID]
    log_end: int = 0
    live: bool = False
    dead: DeadLetterCount = field(default_factory=DeadLetterCount)
    states: dict[UUID, Generation] = field(default_factory=dict)
    in_doubt: bool = False
    paused: bool = False

    def known(self, generation_ids: Collection[UUID]) -> dict[UUID, Generation]:
        """The cached states of these generations, in a new dict: a batch that fails leaves no trace."""
        return {gid: state for gid in generation_ids if (state := self.states.get(gid)) is not None}

    def may_go_live(self) -> bool:
        """Whether it has caught up, and is not live yet."""
        return not self.live and not self.paused and self.claim.next_offset >= self.log_end

    def mark_in_doubt(self) -> None:
        """Before each commit."""
        self.in_doubt = True

    def restart(self, claim: Claim, parked: set[UUID], dead: DeadLetterCount) -> None:
        """Continues from the claim as the database holds it."""
        self.claim, self.parked, self.dead, self.in_doubt = claim, parked, dead, False
        self.states.clear()

    def advance(
        self, next_offset: int, states: Mapping[UUID, Generation], parked: set[UUID], dead: DeadLetterCount
    ) -> None:
        """After a successful commit. `states`: the latest to be cached."""
        self.claim = replace(self.claim, next_offset=next_offset)
        self.in_doubt = False
        self.parked, self.dead = parked, dead
        for generation_id, state in states.items():
            self.states.pop(generation_id, None)
            if not state.settled:
                self.states[generation_id] = state
        for oldest in list(islice(self.states, max(0, len(self.states) - CACHED_STATES))):
            del self.states[oldest]


Wanted: TypeAlias = Sequence[tuple[OwnedPartition, Collection[UUID]]]
"""Generations by the partition whose records name them."""


async def load_states(pool: Fetcher, wanted: Wanted) -> Sequence[dict[UUID, Generation]]:
    """The states of these generations, from the cache or from the database, in the order of `wanted`."""
    known = [held.known(ids) for held, ids in wanted]
    missing = {
        held.claim.partition: lacking
        for (held, ids), states in zip(wanted, known, strict=True)
        if (lacking := set(ids).difference(states))
    }
    loaded = await generation_states.load_own(pool, missing) if missing else {}
    for (held, _), states in zip(wanted, known, strict=True):
        states.update(loaded.get(held.claim.partition, {}))
    return known


async def load_unrequested(pool: Pool, wanted: Wanted) -> UnrequestedEvents:
    """The recorded events of the generations that have no cached state."""
    unknown = {held.claim.partition: set(ids).difference(held.states) for held, ids in wanted}
    return await timeline.unrequested_events(pool, unknown)
