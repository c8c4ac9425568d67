"""A system with servers of the test, named in the `.env` of dev, which the test stops and starts."""

from pathlib import Path

from gengui_stream.dev.servers import Server
from gengui_stream.dev.stack import EmbeddedStack
from tests.faults.system import DevSystem


class GivenSystem(DevSystem):
    """As a DevSystem; dev itself starts none of the servers."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._stack = EmbeddedStack(directory / "servers")

    async def start(self) -> None:
        await self._stack.start()
        lines = [f"{name}={value}\n" for name, value in self._stack.environ.items()]
        (self.directory / ".env").write_text("".join(lines))
        await super().start()

    async def stop(self) -> int | None:
        code = await super().stop()
        await self._stack.stop()
        return code

    def server(self, name: str) -> Server:
        [found] = [server for server in self._stack.servers if server.child.name == name]
        return found
