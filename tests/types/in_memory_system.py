import asyncio
from datetime import timedelta
from uuid import UUID

from gengui_stream.domain.generation.decide import RequestParameters, request
from gengui_stream.domain.generation.state import Generation
from gengui_stream.identifiers import new_id
from gengui_stream.providers.interface import Finished
from gengui_stream.stamps import new_stamp
from gengui_stream.testing.provider import InMemoryProvider
from gengui_stream.testing.system import InMemorySystem
from schemas.events import Output, ProviderChoice


async def polled_result() -> Generation | None:
    provider = InMemoryProvider("mine")
    system = InMemorySystem([provider])
    parameters = RequestParameters(
        owner_id=UUID(int=1),
        prompt="a lighthouse at dusk",
        seed=7,
        width=512,
        height=768,
        model="flux",
        provider="mine",
        provider_choice=ProviderChoice(source="request"),
        max_attempts=2,
        time_limit=timedelta(minutes=10),
    )
    event = request(new_id(), parameters, new_stamp("example"))
    await system.log.append(event)
    process = system.process()
    await process.work()  # announces the attempt, and calls the provider
    provider.runs[0].status = Finished((Output(object_key="outputs/a.png"),))
    system.advance(31)  # past the heartbeat time-out
    await process.work()  # asks the provider, and records the result
    return system.projection.state_of(event.generation_id)


if __name__ == "__main__":
    print(asyncio.run(polled_result()))
