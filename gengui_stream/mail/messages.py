"""E-mails as messages of RFC 5322."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from uuid import UUID

from gengui_stream.errors import PermanentError
from gengui_stream.mail.templates import Rendered
from gengui_stream.settings.addresses.email_address import email_address


def message_of(rendered: Rendered, *, sender: Address, recipient: str, email_id: UUID, now: datetime) -> EmailMessage:
    """The Message-ID derives from `email_id`: an e-mail that is sent twice can be recognised. Raises PermanentError for
    a recipient that is no address."""
    message = EmailMessage(policy=SMTP)
    try:
        message["To"] = email_address(recipient)
    except ValueError as error:
        raise PermanentError(f"recipient: {error}") from error
    message["From"] = sender
    message["Subject"] = rendered.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{email_id}@{sender.domain}>"
    # RFC 3834: no out-of-office replies to it.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    return message
