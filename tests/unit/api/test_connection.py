"""What aiohttp refuses by itself, and the time limits of a connection, through the socket."""

import asyncio
import socket
from contextlib import suppress

import orjson
import pytest
from structlog.testing import capture_logs

from gengui_stream.errors import ConfigurationError
from tests.integration.running import DEADLINE_S
from tests.unit.api.starting import answer_of, exchange, get, starting

SECRET = b"5ecret"
HOST = b" HTTP/1.1\r\nHost: a\r\n"
MALFORMED = {
    "no version": (b"GET /5ecret HTTP/9\r\n\r\n", 400, "malformed_request"),
    "TLS to a port without it": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed_request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
    "unknown method": (b"5ecret /" + HOST + b"\r\n", 400, "malformed_request"),
    "no Host": (b"GET /5ecret HTTP/1.1\r\n\r\n", 400, "malformed_request"),
    "two Hosts": (b"GET /" + HOST + b"Host: 5ecret\r\n\r\n", 400, "malformed_request"),
    "long target": (b"GET /5ecret" + b"x" * 9_000 + HOST + b"\r\n", 414, "target_too_long"),
    "long header": (b"GET /" + HOST + b"X: 5ecret" + b"x" * 20_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "long name": (b"GET /" + HOST + b"5ecret" + b"x" * 20_000 + b": a\r\n\r\n", 431, "headers_too_large"),
    "many headers": (b"GET /" + HOST + b"X: 5ecret\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    "no colon": (b"GET /" + HOST + b"5ecret colon\r\n\r\n", 400, "malformed_request"),
    "NUL": (b"GET /" + HOST + b"X: 5ecret\x00\r\n\r\n", 400, "malformed_request"),
    "two lengths": (
        b"POST /" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed_request",
    ),
    "length": (b"POST /" + HOST + b"Content-Length: 5ecret\r\n\r\n", 400, "malformed_request"),
    "chunk": (b"POST /" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5ecret\r\n", 400, "malformed_request"),
    "relative target": (b"GET 5ecret" + HOST + b"\r\n", 400, "malformed_request"),
    "bracket": (b"GET http://[5ecret" + HOST + b"\r\n", 400, "malformed_request"),
    "no UTF-8": (b"GET /5ecret\xff" + HOST + b"\r\n", 400, "malformed_request"),
    "old websocket": (b"GET /" + HOST + b"Sec-WebSocket-Key1: 5ecret\r\n\r\n", 400, "malformed_request"),
    "expectation": (b"GET /livez" + HOST + b"Expect: 5ecret\r\n\r\n", 417, "expectation_failed"),
    "expectation of no path": (b"GET /nowhere" + HOST + b"Expect: \x80\r\n\r\n", 417, "expectation_failed"),
}


async def test_malformed_requests_get_a_problem_document_and_one_quiet_line(caplog: pytest.LogCaptureFixture) -> None:
    async with starting() as port:
        for name, (sent, status, code) in MALFORMED.items():
            with capture_logs() as logs:
                found = await exchange(port, sent)
            assert (found.version, found.status) == ("HTTP/1.1", status), name
            assert found.headers["content-type"] == "application/problem+json", name
            assert orjson.loads(found.body)["code"] == code, name
            assert SECRET not in found.body, name
            lines = [line for line in logs if line["event"] == "request_refused"]
            assert len(lines) == 1, name
            assert all(line["log_level"] == "info" and SECRET.decode() not in str(line) for line in lines), name
            assert not [line for line in logs if line["log_level"] in {"error", "critical"}], name
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_request_whose_headers_do_not_come_to_an_end_is_refused() -> None:
    async with starting(http_receive_timeout_s=0.2) as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez" + HOST)
        found = await answer_of(reader)
        assert (found.status, orjson.loads(found.body)["code"]) == (408, "request_timeout")
        assert await reader.read() == b""
        writer.close()


async def test_each_byte_of_a_slow_sender_does_not_extend_its_time() -> None:
    async with starting(http_receive_timeout_s=0.2) as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez" + HOST)
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()


async def test_an_idle_connection_is_closed_and_a_used_one_is_kept() -> None:
    async with starting(http_receive_timeout_s=0.2, http_keep_alive_s=0.5) as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /livez" + HOST + b"\r\n")
            assert (await answer_of(reader)).status == 200
        assert await reader.read() == b""
        writer.close()


async def test_a_new_connection_that_sends_nothing_is_closed() -> None:
    async with starting(http_keep_alive_s=0.2) as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_goes_away_in_a_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with starting() as port:
        with capture_logs() as logs:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /v1/generations" + HOST + b"Content-Length: 50\r\n\r\nabc")
            writer.close()
            await writer.wait_closed()
            assert (await get(port, "/livez")).status == 200
        assert not [line for line in logs if line["log_level"] == "error"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_an_address_that_is_in_use_is_a_fault_of_the_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as refused:
            async with starting(port=port):
                pass
    [fault] = refused.value.faults
    assert fault == f"HOST, PORT: cannot listen on 127.0.0.1:{port}: Address already in use"
