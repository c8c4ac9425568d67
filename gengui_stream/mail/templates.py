"""The texts of e-mails: for each kind a subject, a plain text and HTML. Whatever a user typed is escaped in HTML, and
loses its control characters in both."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from gengui_stream.accounts.emails import EmailKind
from gengui_stream.accounts.one_time_tokens import VALID_FOR
from gengui_stream.mail.links import ACTIONS, Action, api_url, page_url
from gengui_stream.printable import printable
from gengui_stream.settings import Settings

SUBJECTS: Final[Mapping[EmailKind, str]] = MappingProxyType(
    {
        "verification": "Confirm your e-mail address",
        "address_taken": "You already have an account",
        "email_change": "Confirm your new e-mail address",
        "email_changed": "The e-mail address of your account was changed",
        "password_reset": "Reset your password",
        "password_changed": "Your password was changed",
        "deletion": "Your account is going to be deleted",
    }
)
"""Without anything that a user typed."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom and what an e-mail is about. `user_name`: None for a user that an operator made. `delete_after`: for
    `deletion` alone. `token`: for the kinds in ACTIONS."""

    user_name: str | None
    recipient: str
    token: str | None = None
    delete_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    text: str
    html: str


class Templates:
    """The templates in `texts/`, compiled at their first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environment = Environment(
            loader=PackageLoader("gengui_stream.mail", "texts"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, kind: EmailKind, about: Subjects) -> Rendered:
        """Raises KeyError for an e-mail that needs a token and has none."""
        values = self._values(kind, about)
        text = self._environment.get_template(f"{kind}.txt").render(values)
        html = self._environment.get_template(f"{kind}.html").render(values)
        return Rendered(SUBJECTS[kind], text.strip() + "\n", html.strip() + "\n")

    def _values(self, kind: EmailKind, about: Subjects) -> Mapping[str, object]:
        values: dict[str, object] = {
            "subject": SUBJECTS[kind],
            "name": printable(about.user_name) if about.user_name else None,
            "recipient": printable(about.recipient),
            "api": api_url(self._settings),
            "front_end": self._settings.frontend_url is not None,
            "delete_after": f"{about.delete_after:%Y-%m-%d %H:%M} UTC" if about.delete_after else None,
        }
        action = ACTIONS.get(kind)
        return values if action is None else values | self._linked(action, about.token)

    def _linked(self, action: Action, token: str | None) -> dict[str, object]:
        if token is None:
            raise KeyError(f"an e-mail with a link to {action.page} needs a token")
        hours = int(VALID_FOR[action.purpose].total_seconds() // 3600)
        return {
            "link": page_url(self._settings, action, token),
            "valid_for": f"{hours} hour{'' if hours == 1 else 's'}",
            "call": f"{api_url(self._settings)}{action.call}",
            "body": orjson.dumps({"token": token, **action.fields}).decode(),
        }
