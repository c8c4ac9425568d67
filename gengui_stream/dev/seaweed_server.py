"""SeaweedFS as the object store of the embedded stack: its keys and ports, how it starts, what it leaves."""

import asyncio
import json
import os
import secrets
import shutil
import sysconfig
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from gengui_stream.dev.child import Child, listens
from gengui_stream.dev.ports import GRPC_DISTANCE, free_port
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.servers import ReservedPort
from gengui_stream.errors import ConfigurationError

REGION: Final = "us-east-1"
"""It has no regions; clients want one."""

PROBE: Final = "gengui-probe"
"""The bucket that is written to see whether it can be."""

PLACE_OF_SOCKETS: Final = Path("/tmp")  # noqa: S108 - there, whatever TMPDIR says


class SeaweedServer:
    """SeaweedFS as an S3 store. Its keys are made at the first start and kept with the data."""

    def __init__(self, directory: Path, log: Path, port: int | None = None) -> None:
        self._directory = directory
        self.port = ReservedPort(port).number
        self._ports = {name: free_port() for name in ("master", "volume", "filer")}
        self.child = Child("seaweed", log)
        self.access_key, self.secret_key = self._credentials()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ports(self) -> list[int]:
        """Each with a companion for gRPC."""
        return [self.port, *self._ports.values()]

    def _credentials(self) -> tuple[str, str]:
        """As the server's own configuration file has them."""
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

    async def start(self) -> None:
        (self._directory / "files").mkdir(exist_ok=True)
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        self.child.start(
            [
                _script("weed"),
                "-logtostderr=true",  # and not to files in the directory for temporary ones
                "server",
                f"-dir={self._directory / 'files'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *ports,
                "-filer=true",
                "-s3",
                f"-s3.port={self.port}",
                f"-s3.config={self._directory / 's3.json'}",
                "-volume.max=500",
                "-master.volumeSizeLimitMB=256",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ],
            cwd=self._directory,
            # A new bucket would make seven volumes at once, and the server has room for a limited number.
            environ={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        )
        await self.child.until_ready(self._answers, 60)

    async def _answers(self) -> bool:
        """It listens some seconds before anything can be written."""
        return await listens(self.port) and await asyncio.to_thread(self._takes_objects)

    def _takes_objects(self) -> bool:
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}),
        )
        with closing(client):
            try:
                with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                    client.create_bucket(Bucket=PROBE)
                client.put_object(Bucket=PROBE, Key="ready", Body=b"")
            except (BotoCoreError, ClientError, ResponseParserError):  # the last: what answers is no store yet
                return False
        return True

    async def stop(self) -> None:
        await self.child.stop(grace_s=3)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        """It leaves those it makes of its own accord."""
        for number in (*self.ports, *(port + GRPC_DISTANCE for port in self.ports)):
            for left in PLACE_OF_SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                left.unlink(missing_ok=True)


def _script(name: str) -> Path:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError([f"{name} is missing; install the embedded stack with `make setup`"])
    return Path(found)
