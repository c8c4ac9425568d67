"""Apache Kafka as a part of the embedded stack."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.kafka.properties import Node
from gengui_stream.dev.processes.child import Child
from gengui_stream.dev.servers import ReservedPort

GRACE_S: Final = 15.0


class KafkaServer:
    """One broker with its own controller, which keeps its data in `directory`. `say` is called before slow steps.
    `node`: its place in a cluster; it is ready once a majority of the cluster's brokers runs. Without it the broker is
    alone."""

    def __init__(
        self,
        directory: Path,
        log: Path,
        port: int | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
        node: Node | None = None,
    ) -> None:
        self._data = DataDirectory(directory)
        self._say = say
        self._node = node or Node((ReservedPort(port).number,))
        self.port = self._node.port
        self.child = Child(self._node.name, log)
        self._broker: Broker | None = None
        self._version = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def launch(self) -> None:
        await self._launched()

    async def start(self) -> None:
        """Raises ConfigurationError when the records in the directory are another cluster's or a newer broker's,
        TransientError when the broker cannot be fetched or does not start."""
        broker = self._broker if self._broker is not None and self.child.alive else await self._launched()
        await broker.until_ready()
        self._data.note(self._version)

    async def _launched(self) -> Broker:
        installation = await install(self._say)
        self._version = installation.version
        self._data.check(self._version, self._node.node_id)
        self._broker = Broker(self.child, self._data, self._node, installation.java)
        # The template's directory has the identity of the broker that it was formatted for.
        await self._broker.launch(installation.template if self._node.alone else None)
        return self._broker

    async def stop(self) -> None:
        await self.child.stop(grace_s=GRACE_S)

    async def kill(self) -> None:
        await self.child.stop(how=signal.SIGKILL)
