"""A real SMTP server in the process of a test: with TLS, passwords, and answers that the test chooses."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from pathlib import Path
from typing import Any, Final, Literal

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from gengui_stream.settings import Settings

USER: Final = "mailer"
PASSWORD: Final = "mail-password"


@dataclass
class Mailbox:
    """What the server took, and what it answers. `recipients`: the answer to RCPT, by address. `answers`: while it is
    not set, the server has a message and does not answer. `held`: the answer to RCPT or to DATA for this address is not
    sent before `answers` is set again. `logins`: the tries to log in."""

    messages: list[EmailMessage] = field(default_factory=list)
    recipients: dict[str, str] = field(default_factory=dict)
    data: str = "250 taken"
    sender: str = "250 fine"
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    held: dict[str, Literal["RCPT", "DATA"]] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers.set()

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.sender

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await self._hold("RCPT", address)
        answer = self.recipients.get(address, "250 fine")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=POLICY)
            assert isinstance(message, EmailMessage)
            self.messages.append(message)
            assert server.transport is not None
            self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        await self._hold("DATA", *envelope.rcpt_tos)
        await self.answers.wait()
        return self.data

    async def _hold(self, step: Literal["RCPT", "DATA"], *addresses: str) -> None:
        """Once for each address."""
        for address in addresses:
            if self.held.get(address) == step:
                del self.held[address]
                self.answers.clear()
                await self.answers.wait()

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append(given.login.decode())
        return AuthResult(success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()), handled=False)

    def sent_to(self, address: str) -> list[EmailMessage]:
        return [message for message in self.messages if message["To"] == address]


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@dataclass(frozen=True)
class Certificates:
    """`context`: of the server. `ca_file`: of the authority that signed it."""

    context: ssl.SSLContext
    ca_file: Path


def certificates(folder: Path, host: str = "127.0.0.1") -> Certificates:
    authority, context, path = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), folder / f"{host}.pem"
    authority.issue_cert(host).configure_cert(context)
    authority.cert_pem.write_to_path(str(path))
    return Certificates(context, path)


@asynccontextmanager
async def smtp_server(
    mailbox: Mailbox,
    *,
    tls: Literal["none", "starttls", "implicit"] = "none",
    made: Certificates | None = None,
    port: int = 0,
    plain_logins: bool = False,
) -> AsyncIterator[int]:
    """The port. `plain_logins`: it offers to log in without TLS, as no server should."""
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            mailbox,
            hostname="test.example",
            tls_context=made.context if made and tls == "starttls" else None,
            require_starttls=tls == "starttls",
            authenticator=mailbox.authenticate,
            auth_require_tls=not (plain_logins or tls == "implicit"),
            enable_SMTPUTF8=True,
            loop=loop,
        )

    context = made.context if made and tls == "implicit" else None
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def with_smtp(
    settings: Settings, port: int, *, login: bool = False, ca_file: Path | None = None, **changes: Any
) -> Settings:
    credentials = {"smtp_user": USER, "smtp_password": SecretStr(PASSWORD)} if login else {}
    given = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_ca_file": ca_file, **credentials, **changes}
    return settings.model_copy(update=given)
