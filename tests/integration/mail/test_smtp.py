"""Messages to a real SMTP server: TLS is demanded and verified wherever a password is."""

from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.mail.smtp import SmtpTransport, tls_of
from gengui_stream.mail.transports import MessageRefusedError
from gengui_stream.settings import Settings, load_settings
from tests.integration.mail.smtp_server import USER, Mailbox, certificates, smtp_server, text_of, with_smtp

SETTINGS: Final = load_settings({}, env_files=())


def message(to: str = "ada@example.com") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "no-reply@example.com", to, "Hello"
    made.set_content("a text with ünicode\n")
    return made


async def send(settings: Settings, *messages: EmailMessage) -> None:
    async with SmtpTransport(settings).session() as session:
        for one in messages:
            await session.send(one)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_with_credentials_it_logs_in_over_tls(tmp_path: Path, tls: Any) -> None:
    mailbox, made = Mailbox(), certificates(tmp_path)
    async with smtp_server(mailbox, tls=tls, made=made) as port:
        changes = {"smtp_tls": "implicit"} if tls == "implicit" else {}
        await send(with_smtp(SETTINGS, port, login=True, ca_file=made.ca_file, **changes), message(), message())
    assert (len(mailbox.messages), mailbox.logins, mailbox.encrypted) == (2, [USER], [True, True])
    assert text_of(mailbox.messages[0]).strip() == "a text with ünicode"


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_of_another_authority_gets_no_password(tmp_path: Path, tls: Any) -> None:
    mailbox, made = Mailbox(), certificates(tmp_path)
    async with smtp_server(mailbox, tls=tls, made=made) as port:
        settings = with_smtp(SETTINGS, port, login=True, smtp_tls=tls)
        with pytest.raises(TransientError, match=r"SMTP at 127\.0\.0\.1:\d+: certificate verify.*set SMTP_CA_FILE"):
            await send(settings, message())
    assert (mailbox.logins, mailbox.messages) == ([], [])


async def test_a_certificate_of_another_host_gets_no_password(tmp_path: Path) -> None:
    mailbox, made = Mailbox(), certificates(tmp_path, "mail.example")
    async with smtp_server(mailbox, tls="starttls", made=made) as port:
        with pytest.raises(TransientError, match=r"certificate verify.*set SMTP_HOST"):
            await send(with_smtp(SETTINGS, port, login=True, ca_file=made.ca_file), message())
    assert (mailbox.logins, mailbox.messages) == ([], [])


async def test_with_credentials_a_server_without_tls_gets_nothing() -> None:
    mailbox = Mailbox()
    async with smtp_server(mailbox, plain_logins=True) as port:
        with pytest.raises(TransientError, match="STARTTLS"):
            await send(with_smtp(SETTINGS, port, login=True), message())
    assert (mailbox.logins, mailbox.messages) == ([], [])


async def test_rejected_credentials_and_a_silent_server_are_waited_for(tmp_path: Path) -> None:
    mailbox, made = Mailbox(), certificates(tmp_path)
    async with smtp_server(mailbox, tls="starttls", made=made) as port:
        settings = with_smtp(SETTINGS, port, login=True, ca_file=made.ca_file, smtp_password=SecretStr("another"))
        with pytest.raises(TransientError, match="535") as refused:
            await send(settings, message())
        assert "another" not in str(refused.value)
    with pytest.raises(TransientError, match=r"SMTP at .*: .*[Cc]onnect"):
        await send(settings, message())


async def test_without_credentials_nothing_is_encrypted_unless_demanded(tmp_path: Path) -> None:
    mailbox, made = Mailbox(), certificates(tmp_path)
    async with smtp_server(mailbox) as port:
        await send(with_smtp(SETTINGS, port), message())
    async with smtp_server(mailbox, tls="starttls", made=made) as port:
        await send(with_smtp(SETTINGS, port, ca_file=made.ca_file, smtp_tls="starttls"), message())
        with pytest.raises(TransientError, match="530"):
            await send(with_smtp(SETTINGS, port), message())
    assert mailbox.encrypted == [False, True]


@pytest.mark.parametrize(("code", "final"), [("550 no such user", True), ("450 mailbox busy", False)])
async def test_a_refused_recipient_leaves_the_session_for_others(code: str, final: bool) -> None:
    mailbox = Mailbox(recipients={"gone@example.com": code})
    async with smtp_server(mailbox) as port, SmtpTransport(with_smtp(SETTINGS, port)).session() as session:
        with pytest.raises(MessageRefusedError if final else TransientError, match=code):
            await session.send(message("gone@example.com"))
        assert session.alive
        await session.send(message())
    assert [one["To"] for one in mailbox.messages] == ["ada@example.com"]


async def test_a_refused_message_is_final_and_a_refused_sender_is_not() -> None:
    mailbox = Mailbox(data="554 spam")
    async with smtp_server(mailbox) as port:
        with pytest.raises(MessageRefusedError, match="554 spam"):
            await send(with_smtp(SETTINGS, port), message())
        mailbox.sender = "550 not you"
        with pytest.raises(TransientError, match="550 not you"):
            await send(with_smtp(SETTINGS, port), message())


@pytest.mark.parametrize(
    ("environ", "tls"),
    [
        ({}, "none"),
        ({"SMTP_PORT": "465"}, "implicit"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "p"}, "starttls"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "p", "SMTP_PORT": "465"}, "implicit"),
        ({"SMTP_TLS": "starttls", "SMTP_PORT": "465"}, "starttls"),
    ],
)
def test_what_auto_stands_for(environ: dict[str, str], tls: str) -> None:
    assert tls_of(load_settings(environ, env_files=())) == tls


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"SMTP_USER": "u"}, "SMTP_PASSWORD: needed with SMTP_USER"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "p", "SMTP_TLS": "none"}, "SMTP_TLS: not none with SMTP_USER"),
        ({"SMTP_FROM": "GenGui"}, "SMTP_FROM: must be an address"),
        ({"SMTP_FROM": "a <a@example.com>, b <b@example.com>"}, "SMTP_FROM: must be an address"),
    ],
)
def test_settings_that_contradict_each_other(environ: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        load_settings(environ, env_files=())


def test_a_file_of_no_certificates_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="SMTP_CA_FILE"):
        SmtpTransport(with_smtp(SETTINGS, 25, ca_file=path))
