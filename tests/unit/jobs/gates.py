"""Gates at which the steps of a process wait, before the log and the providers of the in-memory system."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from gengui_stream.log.positions import Position
from gengui_stream.log.unpacking.records import RawRecord
from gengui_stream.providers.interface import (
    CallPolicy,
    CancelOutcome,
    DispatchOutcome,
    DispatchRequest,
    ProviderJob,
    StatusOutcome,
)
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.event_log import InMemoryEventLog
from gengui_stream.testing.provider import InMemoryProvider
from schemas.events import Event

IN_DOUBT_S = 20.0

current_process: ContextVar[int] = ContextVar("current_process", default=-1)


class Gates:
    """`waiting`: the steps that wait, the first one first, each with its process. `open`: from now on no step waits."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.open = False

    async def passed(self) -> None:
        if not self.open:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append((current_process.get(), gate))
            await gate

    def pass_one(self, number: int) -> None:
        _, gate = self.waiting.pop(number % len(self.waiting))
        if not gate.done():  # its process was killed
            gate.set_result(None)

    def pass_one_of(self, process: int) -> bool:
        """The first that waits; False when none of this process does."""
        places = [place for place, (owner, _) in enumerate(self.waiting) if owner == process]
        if places:
            self.pass_one(places[0])
        return bool(places)

    def pass_all(self) -> None:
        self.open = True
        while self.waiting:
            self.pass_one(0)


class GatedLog(InMemoryEventLog):
    """`shown`: the number of records of each partition that the projection reads; None: all."""

    def __init__(self, clock: Clock, gates: Gates) -> None:
        super().__init__(clock)
        self._gates = gates
        self.shown: dict[int, int] | None = None

    def read(self, start: Mapping[int, int] | None = None) -> list[RawRecord]:
        shown = self.shown
        records = super().read(start)
        return records if shown is None else [one for one in records if one.offset < shown.get(one.partition, 0)]

    def hide_what_follows(self) -> None:
        self.shown = None
        self.shown = dict(Counter(record.partition for record in self.read()))

    def show_one_more(self, partition: int) -> None:
        if self.shown is not None:
            self.shown[partition] = self.shown.get(partition, 0) + 1

    async def append_many(self, events: Sequence[Event]) -> list[Position]:
        await self._gates.passed()
        positions = await self.append_at_once(events)
        await self._gates.passed()
        return positions

    async def append_at_once(self, events: Sequence[Event]) -> list[Position]:
        return await super().append_many(events)


class GatedProvider(InMemoryProvider):
    def __init__(self, name: str, clock: Clock, gates: Gates) -> None:
        super().__init__(name, clock, policy=CallPolicy(in_doubt_s=IN_DOUBT_S))
        self._gates = gates

    async def dispatch(self, request: DispatchRequest) -> DispatchOutcome:
        outcome = await super().dispatch(request)
        await self._gates.passed()
        return outcome

    async def get_status(self, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
        status = await super().get_status(request, job)
        await self._gates.passed()
        return status

    async def cancel(self, request: DispatchRequest, job: ProviderJob) -> CancelOutcome:
        await self._gates.passed()
        outcome = await super().cancel(request, job)
        await self._gates.passed()
        return outcome
