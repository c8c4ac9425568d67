"""SeaweedFS, the object store of the embedded stack: its keys, ports, start and end."""

import json
import os
import secrets
import shutil
import signal
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gengui_stream.dev.ports import GRPC_DISTANCE, free_port
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.processes.child import Child, listens
from gengui_stream.dev.servers import ReservedPort
from gengui_stream.errors import ConfigurationError

REGION: Final = "us-east-1"
"""SeaweedFS has no regions, but clients need one."""

SOCKETS: Final = Path("/tmp")  # noqa: S108 - there, whatever TMPDIR says

ADDRESS: Final = "[::ffff:127.0.0.1]"
"""127.0.0.1 in a form with which its parts connect over TCP. With any other they use the sockets in /tmp, and
without these the store never starts."""

OPTIONS: Final = (
    "-volume.max=500",
    "-master.volumeSizeLimitMB=256",
    "-master.peers=none",  # a single master needs no others to elect itself
    "-master.resumeState=false",  # a master that resumes refuses writes for 15 s, until volume servers have reported
    "-master.telemetry=false",
    "-filer.localSocket=filer.sock",  # in the working directory: the path of a socket is limited to some 100 bytes
    "-s3.localSocket=s3.sock",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)


class SeaweedServer:
    """SeaweedFS as an S3 store. Its keys are generated at the first start and kept with the data. `options`: further
    ones of `weed server`."""

    def __init__(self, directory: Path, log: Path, port: int | None = None, *, options: Sequence[str] = ()) -> None:
        self._options = options
        self._directory = directory
        self.port = ReservedPort(port).number
        self._ports = {name: free_port() for name in ("master", "volume", "filer")}
        self.child = Child("seaweed", log)
        self.access_key, self.secret_key = self._credentials()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def filer_port(self) -> int:
        return self._ports["filer"]

    def _credentials(self) -> tuple[str, str]:
        """The keys in the format of the server's configuration file."""
        path = self._directory / "s3.json"
        if not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            keys = {"accessKey": secrets.token_hex(8), "secretKey": secrets.token_hex(20)}
            identity = {
                "name": "gengui",
                "credentials": [keys],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            write_private(path, json.dumps({"identities": [identity]}))
        [identity] = json.loads(path.read_text())["identities"]
        [keys] = identity["credentials"]
        return keys["accessKey"], keys["secretKey"]

    async def launch(self) -> None:
        (self._directory / "files").mkdir(exist_ok=True)
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        self.child.start(
            [
                weed(),
                "-logtostderr=true",  # not to files in the temporary directory
                "server",
                f"-dir={self._directory / 'files'}",
                f"-ip={ADDRESS}",
                "-ip.bind=127.0.0.1",
                *ports,
                "-filer=true",
                "-s3",
                f"-s3.port={self.port}",
                f"-s3.config={self._directory / 's3.json'}",
                *OPTIONS,
                *self._options,
            ],
            cwd=self._directory,
            # A new bucket would create seven volumes at once, and the server has a limited number.
            environ={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        )

    async def start(self) -> None:
        if not self.child.alive:
            await self.launch()
        await self.child.until_ready(self._answers, 60)

    async def _answers(self) -> bool:
        """It accepts objects once it listens, as the S3 API starts last."""
        return await listens(self.port)

    async def stop(self) -> None:
        """Kills it: acknowledged writes survive that, and a graceful stop takes 15 s."""
        await self.child.stop(how=signal.SIGKILL)
        for socket in self.sockets:
            with suppress(OSError):  # in a read-only directory there is none
                socket.unlink()

    async def kill(self) -> None:
        await self.stop()

    @property
    def sockets(self) -> list[Path]:
        """SeaweedFS creates them if it can, and does not use them; it has no option for their directory."""
        ports = {**self._ports, "s3": self.port}
        return [SOCKETS / f"seaweedfs-{part}-grpc-{port + GRPC_DISTANCE}.sock" for part, port in ports.items()]


def weed() -> Path:
    """Its program. Raises ConfigurationError without one."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise ConfigurationError(["weed is missing; install the embedded stack with `make setup`"])
    return Path(found)
