"""The example in docs/fakes.md."""

from gengui_stream.domain.generation.state import Status
from tests.types.in_memory_system import polled_result


async def test_its_generation_completes() -> None:
    state = await polled_result()
    assert state is not None
    assert state.status is Status.COMPLETED
