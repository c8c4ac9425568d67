"""Debian's Redis with TLS: Valkey of the embedded stack is built without it."""

import shutil
import signal
import ssl
from pathlib import Path
from typing import Final

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.tls.certificates import shown_by
from tests.integration.tls.certificates import HOST, Certificates, Pair

BINARY: Final = shutil.which("redis-server")


class RedisWithTls:
    """`asking`: it asks for a certificate of the client."""

    def __init__(self, folder: Path, certificates: Certificates, pair: Pair, *, asking: bool = False) -> None:
        self.port = free_port()
        self._ca, self._pair, self._asking = certificates.ca, pair, asking
        self._child = Child("redis", folder / f"redis-{self.port}.log")

    def url(self, query: str = "", *, host: str = HOST) -> str:
        return f"rediss://{host}:{self.port}/0{query}"

    async def start(self) -> None:
        assert BINARY is not None
        options = {
            "--port": 0,
            "--tls-port": self.port,
            "--bind": "127.0.0.1",
            "--tls-cert-file": self._pair.certificate,
            "--tls-key-file": self._pair.key,
            "--tls-ca-cert-file": self._ca,
            "--tls-auth-clients": "yes" if self._asking else "no",
            "--appendonly": "yes",
            "--appendfsync": "no",
            "--save": "",
            "--dir": self._child.log.parent,
            "--appenddirname": f"aof-{self.port}",
        }
        arguments = [str(part) for option in options.items() for part in option]
        self._child.start([BINARY, *arguments])
        await self._child.until_ready(self._answers, 30)

    async def _answers(self) -> bool:
        try:
            return await shown_by("127.0.0.1", self.port) is not None
        except (ConnectionError, ssl.SSLError):
            return False

    async def stop(self) -> None:
        await self._child.stop(how=signal.SIGKILL)
