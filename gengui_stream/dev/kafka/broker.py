"""One process of Apache Kafka: its start, its readiness, and the reason of a failure in one line."""

import re
import shutil
import signal
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.data_directory import DataDirectory, newer
from gengui_stream.dev.kafka.java import Java, environ
from gengui_stream.dev.kafka.properties import CLUSTER_ID, Node, controller_port, server_properties
from gengui_stream.dev.ports import is_free
from gengui_stream.dev.processes.child import Child, listens
from gengui_stream.errors import ConfigurationError, TransientError

READY_WITHIN_S: Final = 90.0
ANSWER_MS: Final = 3_000
"""Another process may listen there and never respond."""

UNKNOWN_METADATA: Final = re.compile(r"No MetadataVersion with feature level (\d+)")
PORT_TAKEN: Final = re.compile(r"bind to \S*:(\d+): Address already in use")
FAULT: Final = re.compile(r"^.*(?:Exception|Error|FATAL|ERROR).*$", re.MULTILINE)
FAULT_LENGTH: Final = 300


class Broker:
    """`options`: further options of the JVM."""

    def __init__(
        self, child: Child, data: DataDirectory, node: Node, java: Java, options: tuple[str, ...] = ()
    ) -> None:
        self._child = child
        self._data = data
        self._node = node
        self._port = node.port
        self._java = java
        self._options = (f"-Djava.io.tmpdir={data.temporary}", *options)
        self._logged = 0

    async def start(self, template: Path | None = None) -> None:
        """Returns once clients can list the broker. Raises what `launch` and `until_ready` raise."""
        await self.launch(template)
        await self.until_ready()

    async def launch(self, template: Path | None = None) -> None:
        """A new log is a copy of the formatted directory `template`; without one it takes a second or two longer.
        Raises ConfigurationError or TransientError with the reason in a line."""
        self._check_ports()
        self._data.prepare(self._node)
        if not self._data.formatted:
            await self._format(template)
        self._logged = self._run(self._child, "kafka.Kafka", self._data.properties, options=self._options)

    async def until_ready(self) -> None:
        """Raises ConfigurationError or TransientError with the reason in a line."""
        try:
            await self._child.until_ready(self._answers, READY_WITHIN_S)
        except TransientError as error:
            raise self._failure(self._child, self._logged) from error

    def _check_ports(self) -> None:
        for port in (self._port, controller_port(self._port)):
            if not is_free(port):
                raise TransientError(_taken(port))

    async def _format(self, template: Path | None) -> None:
        with self._data.formatting() as fresh:
            if template is None:
                await self.format_directory(fresh)
            else:
                shutil.copytree(template, fresh)

    async def format_directory(self, logs: Path) -> None:
        """KRaft requires a directory that was formatted for one cluster. `logs` is below the broker's directory."""
        properties = self._data.directory / "format.properties"
        properties.write_text(server_properties(self._node, str(logs.relative_to(self._data.directory))))
        tool = Child("format", self._child.log)
        logged = self._run(tool, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties)
        try:
            await tool.ended()
        finally:
            await tool.stop()
        if tool.exit_code:
            raise self._failure(tool, logged)

    def _run(self, child: Child, main: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> int:
        """The length of its log so far, in bytes."""
        logged = child.log.stat().st_size if child.log.exists() else 0
        command = self._java.command(main, *arguments, options=options)
        try:
            child.start(command, environ=environ(), cwd=self._data.directory)
        except OSError as error:
            raise ConfigurationError(
                [
                    f"{command[0]} cannot be executed ({error.strerror}): reinstall the embedded stack with "
                    "`make setup`, on a file system that allows programs"
                ]
            ) from error
        return logged

    async def _answers(self) -> bool:
        """Whether clients can list the broker: not before it has registered with its controller."""
        if not await listens(self._port):
            return False
        from aiokafka.admin import AIOKafkaAdminClient  # takes long, while the broker starts
        from aiokafka.errors import KafkaError

        admin = AIOKafkaAdminClient(bootstrap_servers=[f"127.0.0.1:{self._port}"], request_timeout_ms=ANSWER_MS)
        try:
            await admin.start()  # fails while there is no broker in the cluster
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
        return True

    def _failure(self, child: Child, logged: int) -> TransientError | ConfigurationError:
        """Why it did not start, by its exit code and its log after this number of bytes."""
        with child.log.open("rb") as log:
            log.seek(logged)
            said = log.read().decode(errors="replace")
        if found := PORT_TAKEN.search(said):
            return TransientError(_taken(int(found[1])))
        if found := UNKNOWN_METADATA.search(said):
            return ConfigurationError([newer(self._data.logs, f"of a later version (metadata level {found[1]})")])
        return TransientError(
            f"the embedded Kafka {_end(child)} before it was ready{_fault(said)}; its log: {child.log}"
        )


def _taken(port: int) -> str:
    return (
        f"the embedded Kafka cannot listen on port {port} of 127.0.0.1, which another process has taken: end that "
        "process, or start again for other ports"
    )


def _end(child: Child) -> str:
    if (code := child.exit_code) is None:
        return f"did not answer within {READY_WITHIN_S:.0f} s"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _fault(said: str) -> str:
    found = FAULT.search(said)
    return f" ({found[0].strip()[:FAULT_LENGTH]})" if found else ""
