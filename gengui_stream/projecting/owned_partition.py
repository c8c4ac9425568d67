"""What the owner of a partition remembers of it between two batches."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.projecting.checkpoints import Claim

CACHED_STATES: Final = 50_000
"""A partition's states kept in memory, 1 to 2 KiB each: of generations that are under way. Of one that is settled, what
may still come is rare, and worth a look into the database. The owner alone changes them, so they are never stale."""


@dataclass(slots=True)
class OwnedPartition:
    """`parked`: the generations whose events wait behind a dead letter. `certain`: whether the last commit's outcome is
    known; while it is not, nothing else here can be relied on."""

    claim: Claim
    parked: set[UUID]
    states: dict[UUID, Generation] = field(default_factory=dict)
    certain: bool = True

    def known(self, generation_ids: Collection[UUID]) -> dict[UUID, Generation]:
        """The states of those of them that it remembers: a copy, so that a batch that fails leaves no trace."""
        return {gid: state for gid in generation_ids if (state := self.states.get(gid)) is not None}

    def doubt(self) -> None:
        """A commit is about to be asked for."""
        self.certain = False

    def restart(self, claim: Claim) -> None:
        """From what the database says."""
        self.claim, self.certain = claim, True
        self.states.clear()

    def advance(self, next_offset: int, states: Mapping[UUID, Generation], parked: set[UUID]) -> None:
        """The commit went through; `states` are the latest to be remembered."""
        self.claim = Claim(self.claim.partition, next_offset, self.claim.epoch)
        self.certain = True
        self.parked = parked
        for generation_id, state in states.items():
            self.states.pop(generation_id, None)
            if not state.settled:
                self.states[generation_id] = state
        for oldest in list(islice(self.states, max(0, len(self.states) - CACHED_STATES))):
            del self.states[oldest]
