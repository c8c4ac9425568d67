"""The links in e-mails. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from gengui_stream.accounts.emails import EmailKind
from gengui_stream.accounts.one_time_tokens import Purpose
from gengui_stream.settings import Settings

EVERY_ADDRESS: Final = frozenset(("0.0.0.0", "::", ""))  # noqa: S104 - compared, not listened on


@dataclass(frozen=True, slots=True)
class Action:
    """What the recipient does with the token of an e-mail. `page`: of FRONTEND_URL, which gets the token in its query.
    `call`: the operation of the API that takes the token; `fields`: others of its body, with what to put there."""

    purpose: Purpose
    page: str
    call: str
    fields: Mapping[str, str] = field(default_factory=dict)  # Python 3.11 takes no mapping as a default


ACTIONS: Final[Mapping[EmailKind, Action]] = MappingProxyType(
    {
        "verification": Action("verify_email", "/verify-email", "/v1/auth/verify-email"),
        "email_change": Action("change_email", "/confirm-email-change", "/v1/auth/confirm-email"),
        "password_reset": Action(
            "reset_password",
            "/reset-password",
            "/v1/auth/password-reset/confirm",
            MappingProxyType({"password": "another password"}),
        ),
    }
)
"""The kinds of e-mails that have a token."""


def page_url(settings: Settings, action: Action, token: str) -> str:
    base = settings.frontend_url.rstrip("/") if settings.frontend_url else api_url(settings)
    return f"{base}{action.page}?{urlencode({'token': token})}"


def api_url(settings: Settings) -> str:
    """The URL of the API for its clients, without a trailing slash, as far as the settings tell."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = "localhost" if settings.host in EVERY_ADDRESS else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
