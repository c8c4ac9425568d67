"""The broker's directory: its log, its settings, and the version of Apache Kafka that wrote there last."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.properties import CLUSTER_ID, NODE_ID, Node, server_properties
from gengui_stream.dev.private_files import write_private
from gengui_stream.errors import ConfigurationError

REMEDY: Final = (
    "remove .gengui, and with it all that `make dev` keeps, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own"
)


class DataDirectory:
    """`temporary` is emptied at every start: native libraries are unpacked there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "data"
        self.properties = directory / "server.properties"
        self.temporary = directory / "tmp"
        self._version = directory / "version"

    @property
    def formatted(self) -> bool:
        return self.logs.exists()

    def check(self, version: str, node_id: int = NODE_ID) -> None:
        """Raises ConfigurationError when its records are of another cluster, another broker or a newer version."""
        if not self.formatted:
            return
        found = meta_properties(self.logs)
        identity = (found.get("cluster.id"), found.get("node.id"))
        if identity != (CLUSTER_ID, str(node_id)):
            raise ConfigurationError(
                [
                    f"{self.logs} belongs to another Kafka cluster (cluster.id {identity[0]}, node.id {identity[1]} in "
                    f"its meta.properties; {CLUSTER_ID} and {node_id} are the embedded broker's): {REMEDY}"
                ]
            )
        written_by = self._version.read_text().strip() if self._version.exists() else version
        if _number(written_by) > _number(version):
            raise ConfigurationError([newer(self.logs, f"{written_by} (this is {version})")])

    def prepare(self, node: Node) -> None:
        """Written at every start."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.properties.write_text(server_properties(node, self.logs.name))

    @contextmanager
    def formatting(self) -> Iterator[Path]:
        """Yields the path of a directory to format, which becomes the log atomically."""
        fresh = self.logs.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        yield fresh
        fresh.replace(self.logs)

    def note(self, version: str) -> None:
        """Records that a broker of this version has started with it."""
        write_private(self._version, f"{version}\n")


def meta_properties(logs: Path) -> dict[str, str]:
    """Empty without the file."""
    try:
        lines = (logs / "meta.properties").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines) if not name.startswith("#")}


def newer(logs: Path, written_by: str) -> str:
    return f"{logs} was written by Apache Kafka {written_by}, which this one cannot read: {REMEDY}"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
