"""What takes e-mails: a session with an SMTP server, or the console."""

from contextlib import AbstractAsyncContextManager
from email.message import EmailMessage
from typing import Protocol

from gengui_stream.errors import PermanentError


class MessageRefusedError(PermanentError):
    """The server refused this message or its recipient for good (5xx); others may pass."""


class Session(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Returns once the message was taken. Raises MessageRefusedError, and TransientError when it may be sent
        later."""
        ...

    @property
    def alive(self) -> bool:
        """Whether another message can be sent."""
        ...


class Transport(Protocol):
    def session(self) -> AbstractAsyncContextManager[Session]:
        """Raises TransientError while no message can be sent at all."""
        ...
