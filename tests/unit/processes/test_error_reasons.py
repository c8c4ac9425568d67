"""Why a connection failed, in words for people."""

import asyncio
import ssl

import pytest

from gengui_stream.errors import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (ConnectionResetError(104, "[Errno 104] reset"), "Connection reset by peer"),
        (TimeoutError(), "no answer in time"),
        (TimeoutError(110, "Connection timed out"), "Connection timed out"),
        (OSError("Multiple exceptions: refused, refused"), "OSError: Multiple exceptions: refused, refused"),
        (ValueError("x"), "ValueError: x"),
    ],
)
def test_the_words_are_those_of_the_operating_system_where_it_has_some(error: Exception, said: str) -> None:
    assert reason(error) == said


async def test_a_host_without_a_name_and_a_server_without_tls() -> None:
    with pytest.raises(OSError) as unknown:  # noqa: PT011 - its subclass depends on the resolver
        await asyncio.open_connection("name.invalid", 1)
    assert "Errno" not in reason(unknown.value)

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n" * 10)
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLError) as refused:
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
    assert reason(refused.value).startswith("TLS: ")
    assert "not permitted" not in reason(refused.value)
