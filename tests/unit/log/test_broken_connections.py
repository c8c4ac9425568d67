"""A connection to a broker that ends is a broken connection, on any event loop; one without an answer is given up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from gengui_stream.log import connection as module
from gengui_stream.log.connection import BrokerConnection, connection
from gengui_stream.settings import load_settings


async def ended_connection(kind: type[conn.AIOKafkaConnection]) -> conn.AIOKafkaConnection:
    """As after a reset by the peer, before the reader has been told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    opened = kind("127.0.0.1", server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
    opened._reader, opened._writer = reader, writer
    opened._read_task = opened._create_reader_task()
    writer.transport.abort()
    await asyncio.sleep(0)  # uvloop closes the handle
    server.close()
    return opened


def test_uvloops_error_is_one_that_aiokafka_handles() -> None:
    async def write() -> None:
        for kind, expected in ((conn.AIOKafkaConnection, RuntimeError), (BrokerConnection, KafkaConnectionError)):
            ended = await ended_connection(kind)
            with pytest.raises(expected) as raised:
                ended._send_sasl_token(b"token")
            assert isinstance(raised.value, KafkaConnectionError) is (kind is BrokerConnection)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write())


def test_every_client_gets_such_connections() -> None:
    connection(load_settings({}, env_files=()))
    assert vars(conn)["AIOKafkaConnection"] is BrokerConnection


@asynccontextmanager
async def silent_broker() -> AsyncIterator[int]:
    """The port of one that takes connections and never responds, as a broker whose process is stopped."""
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    for writer in accepted:  # before Python 3.12 the end of a server does not wait for its connections
        with suppress(OSError):
            await writer.wait_closed()


async def test_a_connection_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    async with silent_broker() as port, asyncio.timeout(10):
        opened = BrokerConnection("127.0.0.1", port)
        with pytest.raises(TimeoutError):
            await opened.connect()
        assert not opened.connected()


@pytest.mark.parametrize(
    ("request_", "patient_ms", "lasts_s"),
    [(MetadataRequest([]), 30_000, (0.0, 30.0)), (FetchRequest(0, 0, 0, 0, []), 400, (0.4, 30.0))],
)
async def test_a_broker_may_keep_only_some_requests_waiting(
    monkeypatch: pytest.MonkeyPatch, request_: object, patient_ms: int, lasts_s: tuple[float, float]
) -> None:
    """A fetch and a join last as long as a broker makes them."""
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    async with silent_broker() as port:
        opened = BrokerConnection("127.0.0.1", port, request_timeout_ms=patient_ms)
        opened._reader, opened._writer = await asyncio.open_connection("127.0.0.1", port)
        opened._read_task, opened._versions = opened._create_reader_task(), {1: (4, 4), 3: (5, 5)}
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await opened.send(request_)
        lasted = time.monotonic() - began
        opened.close()
    assert lasts_s[0] <= lasted < lasts_s[1]
