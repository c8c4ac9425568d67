"""A system in memory with one provider, and the actions and observations of a test."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from gengui_stream.domain.generation.state import Generation
from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import decode
from gengui_stream.providers.interface import CallPolicy
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.provider import InMemoryProvider
from gengui_stream.testing.system import DispatchProcess, InMemorySystem
from schemas.events import Event, GenerationRequested
from tests.integration.running import a_request

IN_DOUBT_S = 20.0
HEARTBEAT_S = 30.0
"""The heartbeat timeout of the system's default timeouts."""

NOT_PINNED = {"source": "default"}


class Stage:
    """`provider` is the one that requests name; `other` the one to fall back on."""

    def __init__(self, *, repeatable: bool = False) -> None:
        clock = Clock()
        policy = CallPolicy(in_doubt_s=0.0 if repeatable else IN_DOUBT_S)
        self.provider = InMemoryProvider("first", clock, repeatable=repeatable, policy=policy)
        self.other = InMemoryProvider("other", clock, policy=policy)
        self.system = InMemorySystem([self.provider, self.other], clock)
        self.process = self.a_process("one")

    def a_process(self, owner: str) -> DispatchProcess:
        return self.system.process(owner, fallbacks=["other"])

    def advance(self, seconds: float) -> None:
        self.system.advance(seconds)

    async def request(self, **changes: Any) -> GenerationRequested:
        request = a_request(
            **{"provider": "first", "provider_choice": NOT_PINNED, "occurred_at": self.system.clock.now(), **changes}
        )
        await self.system.log.append(request)
        return request

    async def say(self, kind: type[Event], generation_id: UUID, **fields: object) -> None:
        """Another producer's event about the generation."""
        common = {
            "id": new_id(),
            "generation_id": generation_id,
            "occurred_at": self.system.clock.now(),
            "producer": "test",
        }
        await self.system.log.append(kind.model_validate({**common, **fields}))

    def state(self, request: GenerationRequested) -> Generation:
        self.system.projection.catch_up()
        state = self.system.projection.state_of(request.generation_id)
        assert state is not None
        return state

    def open_jobs(self) -> list[str]:
        """The kinds of the jobs that are left."""
        return sorted(row.job.kind for row in self.system.jobs.rows.values())

    def types(self) -> Sequence[str]:
        """The types of the events on the log, partition by partition, without `generation.`."""
        events = (decode(record.key, record.value) for record in self.system.log.read())
        return [event.type.removeprefix("generation.") for event in events if isinstance(event, Event)]
