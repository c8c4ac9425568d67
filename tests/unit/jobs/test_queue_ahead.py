"""How many attempts may wait at a provider with a queue of its own."""

from gengui_stream.dispatch.queue_ahead import UNKNOWN_FOR_S, QueueAhead
from gengui_stream.identifiers import new_id
from gengui_stream.providers.interface import CallPolicy, DispatchRequest
from gengui_stream.testing.clock import Clock
from gengui_stream.testing.provider import InMemoryProvider

POLL_S = 0.5
MODEL = "flux"
QUEUE = ("in-memory", MODEL)


class Scene:
    """A provider with room for two, and a dispatcher that fills it."""

    def __init__(self, ahead: int | None = 2) -> None:
        self.clock = Clock()
        self.provider = InMemoryProvider(policy=CallPolicy(queue_ahead=ahead, queue_poll_interval_s=POLL_S))
        self.queue = QueueAhead({"in-memory": self.provider}, self.clock.monotonic)

    async def filled(self) -> int:
        self.queue.begin()
        room = await self.queue.room(QUEUE, 0)
        for _ in range(room):
            await self.provider.dispatch(request())
        self.queue.took(QUEUE, room)
        return room

    def starts(self, number: int) -> None:
        waiting = [run for run in self.provider.runs if not run.started]
        for run in waiting[:number]:
            run.started = True


def request() -> DispatchRequest:
    return DispatchRequest(
        generation_id=new_id(),
        owner_id=new_id(),
        attempt=1,
        prompt="a pier",
        seed=1,
        width=512,
        height=512,
        model=MODEL,
        deadline=None,
        correlation_id=None,
        traceparent=None,
    )


async def test_a_provider_without_a_queue_takes_any_number() -> None:
    assert not Scene(ahead=None).queue.is_limited("in-memory")


async def test_no_model_waits_behind_another() -> None:
    scene = Scene()
    assert [await scene.filled(), await scene.filled()] == [2, 0]
    assert await scene.queue.room(("in-memory", "banana"), 0) == 2


async def test_a_full_queue_is_polled_again_after_a_while() -> None:
    scene = Scene()
    assert [await scene.filled(), await scene.filled()] == [2, 0]
    assert scene.queue.next_poll_s() == POLL_S
    scene.starts(1)
    assert await scene.filled() == 0
    scene.clock.advance(2)
    assert await scene.filled() == 1, "one is left, one may follow"


async def test_what_is_in_progress_counts() -> None:
    scene = Scene()
    assert await scene.queue.room(QUEUE, 1) == 1


async def test_a_quick_provider_gets_what_it_starts_in_a_second() -> None:
    scene = Scene()
    rooms = []
    for _ in range(6):
        rooms.append(await scene.filled())
        scene.starts(1_000)
        scene.clock.advance(POLL_S + 0.01)
    assert rooms == [2, 2, 4, 6, 10, 16]


async def test_a_provider_that_does_not_say_gets_what_its_policy_allows_now_and_again() -> None:
    scene = Scene()
    scene.provider.available = False
    assert await scene.queue.room(QUEUE, 0) == 2
    scene.queue.took(QUEUE, 2)
    assert await scene.queue.room(QUEUE, 0) == 0
    scene.clock.advance(UNKNOWN_FOR_S)
    assert await scene.queue.room(QUEUE, 0) == 2


async def test_no_poll_is_due_for_a_provider_that_nothing_is_claimed_for() -> None:
    scene = Scene()
    assert [await scene.filled(), await scene.filled()] == [2, 0]
    scene.queue.begin()
    assert scene.queue.next_poll_s() is None
