"""Apache Kafka as a part of the embedded stack."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gengui_stream.dev.child import Child
from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.servers import ReservedPort

GRACE_S: Final = 15.0


class KafkaServer:
    """One broker with its own controller. Records and groups are kept in `directory`. `say` is told what takes long."""

    def __init__(
        self, directory: Path, log: Path, port: int | None = None, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._data = DataDirectory(directory)
        self._say = say
        self.port = ReservedPort(port).number
        self.child = Child("kafka", log)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Raises ConfigurationError when the records in the directory are another cluster's or a newer broker's,
        TransientError when the broker cannot be fetched or does not start."""
        installation = await install(self._say)
        self._data.check(installation.version)
        await Broker(self.child, self._data, self.port, installation.java).start(installation.template)
        self._data.note(installation.version)

    async def stop(self) -> None:
        await self.child.stop(grace_s=GRACE_S)

    async def kill(self) -> None:
        await self.child.stop(how=signal.SIGKILL)
