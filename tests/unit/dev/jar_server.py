"""A repository of jars on 127.0.0.1 with the layout and the faults of Maven Central."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias

from gengui_stream.dev.kafka.jars import Jar

Fault: TypeAlias = Literal["stalls", "ends early", "is missing"]


def a_jar(artifact: str, content: bytes, version: str = "1.0") -> Jar:
    return Jar(sha256(content).hexdigest(), len(content), "org.example.group", artifact, version)


class JarServer(ThreadingHTTPServer):
    """`requested` counts the requests of each path. A fault applies to its number of requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requested: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}
        self.closing = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that disconnects is not an error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def publish(self, artifact: str, content: bytes, faults: Sequence[Fault] = ()) -> Jar:
        jar = a_jar(artifact, content)
        self.files[path_of(jar)] = content
        self.faults[path_of(jar)] = list(faults)
        return jar


def path_of(jar: Jar) -> str:
    return f"/{jar.group.replace('.', '/')}/{jar.artifact}/{jar.version}/{jar.name}"


class _Handler(BaseHTTPRequestHandler):
    server: JarServer

    def do_GET(self) -> None:
        self.server.requested[self.path] += 1
        faults = self.server.faults.get(self.path)
        fault = faults.pop(0) if faults else None
        content = self.server.files.get(self.path)
        if content is None or fault == "is missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if fault is None else content[: len(content) // 2])
        if fault == "stalls":
            self.wfile.flush()
            self.server.closing.wait()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def jar_server() -> Iterator[JarServer]:
    with JarServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
