"""A closed-loop HTTP client in a separate process: persistent connections, each with one request at a time.

Raw sockets and no parser beyond Content-Length: on two cores every cycle of the client is taken from the servers.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load: `paths` in turn, over `connections` concurrently, for `seconds`."""

    port: int
    paths: Sequence[str]
    headers: dict[str, str]
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answers:
    """The responses within the time. Any status but 200 ends the measurement."""

    requests: int
    seconds: float
    bytes_each: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: "_Running") -> None:
        self._load = load
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._ask()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or len(self._received) < end + 4 + _length(bytes(self._received[:end])):
            return
        self._load.answered(bytes(self._received), time.perf_counter() - self._asked_at)
        self._received.clear()
        if self._load.over:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.ended(error)


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return int(next(line for line in lines if line.startswith(b"content-length:")).partition(b":")[2])


class _Running:
    """The load while it runs."""

    def __init__(self, load: Load) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
        head = f"HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n{more}\r\n"
        self._requests = [f"GET {path} {head}".encode() for path in load.paths]
        self._asked = self._bytes = 0
        self._times: list[float] = []
        self._open = load.connections
        self._ends_at = time.perf_counter() + load.seconds
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._ends_at

    def next_request(self) -> bytes:
        self._asked += 1
        return self._requests[self._asked % len(self._requests)]

    def answered(self, response: bytes, seconds: float) -> None:
        if not response.startswith(b"HTTP/1.1 200") and not self.done.done():
            self.done.set_exception(RuntimeError(response[:500].decode()))
        self._times.append(seconds)
        self._bytes += len(response)

    def ended(self, error: Exception | None) -> None:
        self._open -= 1
        if self.done.done():
            return
        if error is not None or not self.over:
            self.done.set_exception(error or RuntimeError("the server closed a connection"))
        elif not self._open:
            self.done.set_result(None)

    def answers(self, seconds: float) -> Answers:
        times = sorted(self._times)
        p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
        return Answers(len(times), seconds, self._bytes / len(times), p50, p99)


async def run_load(load: Load) -> Answers:
    """In this process."""
    began, loop = time.perf_counter(), asyncio.get_running_loop()
    running = _Running(load)
    for _ in range(load.connections):
        await loop.create_connection(lambda: _Connection(running), "127.0.0.1", load.port)
    async with asyncio.timeout(load.seconds + 30):
        await running.done
    return running.answers(time.perf_counter() - began)


async def put_under(load: Load) -> Answers:
    """In a separate process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(asdict(load)).encode())
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    return Answers(**json.loads(output))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run_load(Load(**json.load(sys.stdin)))))))
