"""The texts of e-mails, and the messages that they become."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Final, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.accounts.emails import EmailKind
from gengui_stream.errors import PermanentError
from gengui_stream.mail.console import PREFIX, shown
from gengui_stream.mail.links import ACTIONS
from gengui_stream.mail.messages import message_of
from gengui_stream.mail.templates import SUBJECTS, Rendered, Subjects, Templates
from gengui_stream.settings import load_settings
from gengui_stream.settings.addresses.email_address import sender_address

KINDS: Final[tuple[EmailKind, ...]] = get_args(EmailKind)
TOKEN: Final = "gg_once_" + "a" * 43
NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
EMAIL_ID: Final = UUID("0195b7a0-0000-7000-8000-000000000000")
PLAIN: Final = Rendered("Subject", "text\n", "<p>text</p>\n")
HOSTILE: Final = "<script>alert(1)</script>\r\nBcc: victim@example.com\r\n\r\n{{ api }}\x1b[31m"


def templates(**environ: str) -> Templates:
    return Templates(load_settings(environ, env_files=()))


def rendered(kind: EmailKind, name: str | None = "ada", **environ: str) -> Rendered:
    token = TOKEN if kind in ACTIONS else None
    return templates(**environ).render(kind, Subjects(name, "ada@example.com", token, NOW))


def test_a_taken_address_is_explained_for_a_sign_up_and_for_a_change() -> None:
    content = rendered("address_taken")
    for text in (content.text, content.html):
        assert "created with this e-mail address, or to be changed to it" in " ".join(text.split())


def message(
    content: Rendered = PLAIN, recipient: str = "ada@example.com", sender: str = "GenGui <no-reply@here.example>"
) -> EmailMessage:
    return message_of(content, sender=sender_address(sender), recipient=recipient, email_id=EMAIL_ID, now=NOW)


def sent(made: EmailMessage) -> EmailMessage:
    """As a recipient reads it."""
    found = message_from_bytes(made.as_bytes(), policy=SMTP)
    assert isinstance(found, EmailMessage)
    return found


class Elements(HTMLParser):
    """The names of the elements, and their links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value for name, value in attrs if name == "href" and value]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_subject_a_text_and_html_that_say_the_same(kind: EmailKind) -> None:
    found = rendered(kind)
    assert found.subject == SUBJECTS[kind]
    assert found.text.startswith("Hello ada,\n")
    assert {"html", "body", "p"} <= set(Elements(found.html).names)
    assert "ada" in found.html
    assert all(len(line) < 998 for line in (*found.text.splitlines(), *found.html.splitlines())), "RFC 5322, 2.1.1"
    assert (TOKEN in found.text, TOKEN in found.html) == (kind in ACTIONS,) * 2


@pytest.mark.parametrize("kind", sorted(ACTIONS))
def test_links_lead_to_the_front_end_and_without_one_the_call_of_the_api_is_there(kind: EmailKind) -> None:
    page = rendered(kind, FRONTEND_URL="https://gengui.example/app/")
    link = f"https://gengui.example/app{ACTIONS[kind].page}?token={TOKEN}"
    assert link in page.text.splitlines()
    assert Elements(page.html).links == [link]
    assert "curl" not in page.text + page.html
    alone = rendered(kind, PUBLIC_URL="https://api.example/")
    assert f"https://api.example{ACTIONS[kind].page}?token={TOKEN}" in alone.text
    assert f"https://api.example{ACTIONS[kind].call}" in alone.text
    assert "http://localhost:3456/" in rendered(kind, HOST="0.0.0.0", PORT="3456").text


def test_a_link_without_its_token_is_not_rendered() -> None:
    with pytest.raises(KeyError):
        templates().render("verification", Subjects("ada", "ada@example.com"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_user_typed_stays_text(kind: EmailKind) -> None:
    plain, hostile = rendered(kind), rendered(kind, HOSTILE)
    assert Elements(hostile.html).names == Elements(plain.html).names
    assert len(hostile.text.splitlines()) == len(plain.text.splitlines())
    assert "\x1b" not in hostile.text + hostile.html
    assert sent(message(hostile)).keys() == sent(message(plain)).keys()


COMPILED: Final = templates()


@given(st.text(max_size=60))
def test_no_user_name_changes_the_headers_or_the_elements(name: str) -> None:
    found = COMPILED.render("password_changed", Subjects(name, "ada@example.com"))
    plain = COMPILED.render("password_changed", Subjects("ada", "ada@example.com"))
    names = Elements(found.html).names
    assert names == Elements(plain.html).names
    read = sent(message(found))
    assert read.keys() == sent(message(plain)).keys()
    assert read["To"] == "ada@example.com"


@given(st.text(max_size=80))
def test_a_recipient_is_one_address_or_refused(recipient: str) -> None:
    try:
        made = message(recipient=recipient)
    except PermanentError:
        return
    read = sent(made)
    assert read.keys() == sent(message()).keys()
    assert len(read["To"].addresses) == 1


@pytest.mark.parametrize(
    "recipient",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example.com\r\nBcc: b@example.com",
        "a@example.com, b@example.com",
        "a b@c.example",
    ],
)
def test_what_is_no_address_is_refused(recipient: str) -> None:
    with pytest.raises(PermanentError, match="recipient"):
        message(recipient=recipient)


def test_headers_name_a_machine_as_the_sender() -> None:
    read = sent(message())
    assert read["From"].addresses[0].addr_spec == "no-reply@here.example"
    assert read["From"].addresses[0].display_name == "GenGui"
    assert read["Message-ID"] == f"<{EMAIL_ID}@here.example>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Date"].datetime == NOW
    assert not [name for name in read.keys() if name.startswith("List-")]  # noqa: SIM118 - a mapping only in part
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert sent(message(sender="plain@here.example"))["From"] == "plain@here.example"


def test_the_console_shows_each_line_with_a_prefix_and_no_control_character() -> None:
    made = message(Rendered("Subject", "one\n\x1b[2Jtwo\n", "<p>no</p>"))
    assert shown(made).splitlines() == [
        f"{PREFIX}{line}" for line in ("To: ada@example.com", "Subject: Subject", "", "one", "\\u001b[2Jtwo")
    ]
