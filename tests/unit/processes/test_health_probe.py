"""The health check of the image: one HTTP request, one line, one exit code."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from gengui_stream.health import probe


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The URL of a server that handles one request with this response."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1_000)
                client.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/livez"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0, "200 {}"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nstalled", 1, "503 stalled"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 1, "404 "),
        (b"220 mail.example.com ESMTP\r\n", 1, "no answer from http://127.0.0.1:"),
        (b"", 1, "no answer from http://127.0.0.1:"),
    ],
    ids=["healthy", "stalled", "another server", "no HTTP", "closed"],
)
def test_only_200_is_healthy(answer: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(answer) as url:
        assert probe.main([url]) == code
    out, err = capsys.readouterr()
    assert (out.startswith(said), len(out.splitlines()), err) == (True, 1, "")


def test_a_process_that_does_not_listen_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert probe.main([f"http://127.0.0.1:{port}/livez"]) == 1
    assert "ConnectionRefusedError" in capsys.readouterr().out


def test_one_that_accepts_and_never_answers_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert probe.main([f"http://127.0.0.1:{listener.getsockname()[1]}/livez"]) == 1
    assert "TimeoutError" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["/livez"], ["127.0.0.1:3000"], ["a", "b"]], ids=str)
def test_wrong_usage_says_how(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: python -m gengui_stream.health.probe http://")
