"""The SMTP server. Its certificate is always verified, and TLS is never optional: a server that does not offer it where
it is required gets no password and no message."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.message import EmailMessage
from typing import Final, Literal, TypeAlias

import aiosmtplib

from gengui_stream.errors import ConfigurationError, TransientError, reason
from gengui_stream.mail.transports import MessageRefusedError
from gengui_stream.settings import Settings
from gengui_stream.tls.refusals import SMTP, refusal

Tls: TypeAlias = Literal["starttls", "implicit", "none"]

COMMAND_S: Final = 15.0
"""For the answer to one command, the greeting included."""

MESSAGE_S: Final = 60.0
"""For one message: less than the lease of an e-mail."""

IMPLICIT_TLS_PORT: Final = 465
FINAL: Final = 500
"""The first of SMTP's codes for errors that a repetition does not end."""


def tls_of(settings: Settings) -> Tls:
    """What SMTP_TLS=auto stands for."""
    if settings.smtp_tls != "auto":
        return settings.smtp_tls
    if settings.smtp_port == IMPLICIT_TLS_PORT:
        return "implicit"
    return "starttls" if settings.smtp_user else "none"


class SmtpSession:
    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    @property
    def alive(self) -> bool:
        return self._client.is_connected

    async def send(self, message: EmailMessage) -> None:
        with _sending():
            async with asyncio.timeout(MESSAGE_S):
                await self._client.send_message(message)


class SmtpTransport:
    """Raises ConfigurationError for an SMTP_CA_FILE that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        if settings.smtp_host is None:
            raise ConfigurationError(["SMTP_HOST: needed"])
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        self._host, self._port, self._tls = settings.smtp_host, settings.smtp_port, tls_of(settings)
        self._user, self._password = settings.smtp_user, password
        self._context = _context(settings)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SmtpSession]:
        """Raises TransientError for every failure to log in, also of the credentials: an operator corrects them."""
        client = self._client()
        with _connecting(self._host, self._port):
            await client.connect()
        try:
            yield SmtpSession(client)
            await _quit(client)
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=self._tls == "implicit",
            start_tls=self._tls == "starttls",  # None would be opportunistic
            tls_context=None if self._tls == "none" else self._context,
            timeout=COMMAND_S,
        )


def _context(settings: Settings) -> ssl.SSLContext:
    path = settings.smtp_ca_file
    try:
        return ssl.create_default_context(cafile=None if path is None else str(path))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError([f"SMTP_CA_FILE: {reason(error)}"]) from error


async def _quit(client: aiosmtplib.SMTP) -> None:
    """All messages are sent: the answer does not matter."""
    try:
        await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return


@contextmanager
def _connecting(host: str, port: int) -> Iterator[None]:
    where = f"SMTP at {host}:{port}"
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise TransientError(f"{where}: {error.code} {error.message}") from error
    except aiosmtplib.SMTPException as error:
        raise refusal(error, where, SMTP) or TransientError(f"{where}: {error.message}") from error
    except (OSError, TimeoutError, ValueError) as error:
        raise refusal(error, where, SMTP) or TransientError(f"{where}: {reason(error)}") from error


@contextmanager
def _sending() -> Iterator[None]:
    """5xx for the recipient or for the message are final. For the sender they are not: they concern every message, and
    an operator mends the settings."""
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        [refused, *_] = error.recipients
        raise _classified(refused, "recipient") from error
    except aiosmtplib.SMTPDataError as error:
        raise _classified(error, "message") from error
    except (aiosmtplib.SMTPNotSupported, ValueError) as error:  # an address that this server cannot take
        raise MessageRefusedError(f"SMTP: {error}") from error
    except aiosmtplib.SMTPResponseException as error:
        raise TransientError(f"SMTP: {error.code} {error.message}") from error
    except aiosmtplib.SMTPException as error:
        raise TransientError(f"SMTP: {error.message}") from error
    except (OSError, TimeoutError) as error:
        raise TransientError(f"SMTP: {reason(error)}") from error


def _classified(error: aiosmtplib.SMTPResponseException, what: str) -> MessageRefusedError | TransientError:
    text = f"SMTP: {what} refused: {error.code} {error.message}"
    return MessageRefusedError(text) if error.code >= FINAL else TransientError(text)
