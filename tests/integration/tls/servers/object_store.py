"""The embedded object store with TLS, and a second gateway to it whose certificate has expired."""

import signal
from pathlib import Path

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child, listens
from gengui_stream.dev.seaweed_server import REGION, SeaweedServer, weed
from tests.integration.tls.certificates import HOST, Certificates


class ObjectStoreWithTls:
    def __init__(self, folder: Path, certificates: Certificates) -> None:
        pair = certificates.server
        self._server = SeaweedServer(
            folder,
            folder / "seaweed.log",
            options=(f"-s3.cert.file={pair.certificate}", f"-s3.key.file={pair.key}"),
        )
        self._expired, self._expired_port = Child("expired", folder / "expired.log"), free_port()
        self._certificates, self._folder = certificates, folder

    def environ(self, *, host: str = HOST, expired: bool = False) -> dict[str, str]:
        return {
            "S3_ENDPOINT": f"https://{host}:{self._expired_port if expired else self._server.port}",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self._server.access_key,
            "AWS_SECRET_ACCESS_KEY": self._server.secret_key,
        }

    async def start(self) -> None:
        await self._server.start()
        pair = self._certificates.expired
        self._expired.start(
            [
                *(weed(), "-logtostderr=true", "s3", f"-port={self._expired_port}", "-ip.bind=127.0.0.1"),
                f"-filer=127.0.0.1:{self._server.filer_port}",
                *(f"-cert.file={pair.certificate}", f"-key.file={pair.key}", f"-config={self._folder / 's3.json'}"),
                *("-port.iceberg=0", "-port.lance=0", "-localSocket=expired.sock"),
            ],
            cwd=self._folder,
        )
        await self._expired.until_ready(lambda: listens(self._expired_port), 60)

    async def stop(self) -> None:
        await self._expired.stop(how=signal.SIGKILL)
        await self._server.stop()
