"""E-mails on the console, for development: its readers can use their links."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Final, TextIO

from gengui_stream.printable import printable_lines

PREFIX: Final = "e-mail | "
"""Begins each line, so that `gengui-stream dev` finds them in the log of the role."""


class ConsoleSession:
    alive: Final = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def send(self, message: EmailMessage) -> None:
        self._stream.write(shown(message))
        self._stream.flush()


class ConsoleTransport:
    """Writes past the log, which would mask the tokens. `stream`: standard output by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ConsoleSession]:
        yield ConsoleSession(self._stream)


def shown(message: EmailMessage) -> str:
    """The plain text of the message, after its address and subject."""
    body = message.get_body(("plain",))
    text = str(body.get_content()) if body is not None else ""
    lines = [f"To: {message['To']}", f"Subject: {message['Subject']}", "", *text.rstrip().splitlines()]
    return "".join(f"{PREFIX}{printable_lines(line)}\n" for line in lines)
