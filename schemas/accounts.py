"""Requests and resources of accounts: sign-up, log-in, sessions, passwords, e-mail addresses."""

import re
from typing import Annotated, Final, Literal, TypeAlias
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

from schemas.fields import NAME_MAX, NO_NUL, WORD, GridPixels, Moment, Name, WrittenMoment
from schemas.http import Request, Resource
from schemas.operations.operation import Scope

EMAIL_MAX: Final = 254
"""RFC 5321, section 4.5.3.1.3: a path has at most 256 characters, two of which are its brackets."""
USER_NAME_MIN, USER_NAME_MAX = 3, 50
PASSWORD_MIN, PASSWORD_MAX = 8, 1_000
PASSWORD_PLAIN_MIN: Final = 16
"""Characters from which on a password needs no special one. The rule of the original service."""
SESSIONS_LISTED: Final = 100

_SPECIAL: Final = "[^A-Za-z0-9]"


def normal_address(text: str) -> str:
    """The form in which an address is stored: with a domain in lower case and in ASCII. Raises ValueError for any other
    text. Whether the domain takes mail is not checked."""
    try:
        found = validate_email(text, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        raise ValueError("must be an e-mail address, such as name@example.com, in ASCII before the @") from None
    return found.ascii_email or found.normalized


def _strong(password: str) -> str:
    if len(password) < PASSWORD_PLAIN_MIN and not re.search(_SPECIAL, password):
        raise ValueError(
            f"must have a special character (not a letter or a digit of ASCII), or at least {PASSWORD_PLAIN_MIN}"
            " characters"
        )
    return password


Address: TypeAlias = Annotated[
    str, Field(max_length=EMAIL_MAX, json_schema_extra={"format": "email"}), AfterValidator(normal_address)
]
UserName: TypeAlias = Annotated[str, Field(min_length=USER_NAME_MIN, max_length=USER_NAME_MAX, pattern=WORD)]
NewPassword: TypeAlias = Annotated[
    str,
    Field(
        min_length=PASSWORD_MIN,
        max_length=PASSWORD_MAX,
        json_schema_extra={
            "anyOf": [
                {"type": "string", "maxLength": PASSWORD_MAX, "minLength": PASSWORD_PLAIN_MIN},
                {"type": "string", "maxLength": PASSWORD_MAX, "pattern": _SPECIAL},
            ]
        },
    ),
    AfterValidator(_strong),
]
GivenPassword: TypeAlias = Annotated[str, Field(max_length=PASSWORD_MAX)]
"""To be compared with the stored one."""
MailedToken: TypeAlias = Annotated[str, Field(max_length=100, description="from the link in an e-mail; used once")]


class SignUp(Request):
    """`POST /v1/auth/signup`."""

    email: Address
    user_name: UserName
    password: NewPassword


class MailedLink(Request):
    """`POST /v1/auth/verify-email` and `POST /v1/auth/confirm-email`."""

    token: MailedToken


class MailRequest(Request):
    """`POST /v1/auth/resend-verification` and `POST /v1/auth/password-reset`."""

    email: Address


class LogIn(Request):
    """`POST /v1/auth/login`. `login`: the e-mail address or the user name."""

    login: Annotated[str, Field(min_length=1, max_length=EMAIL_MAX, pattern=NO_NUL)]
    password: GivenPassword


class PasswordReset(Request):
    """`POST /v1/auth/password-reset/confirm`."""

    token: MailedToken
    password: NewPassword


class AccountChange(Request):
    """`PATCH /v1/account`."""

    user_name: UserName
    password: GivenPassword


class PasswordChange(Request):
    """`PUT /v1/account/password`."""

    current_password: GivenPassword
    new_password: NewPassword


class EmailChange(Request):
    """`POST /v1/account/email`."""

    email: Address
    password: GivenPassword


class AccountDeletion(Request):
    """`DELETE /v1/account`."""

    password: GivenPassword


class PreferencesChange(Request):
    """`PATCH /v1/account/preferences`. A field that is left out stays as it is; null removes it."""

    width: GridPixels | None = None
    height: GridPixels | None = None
    model: Name | None = None
    provider: Name | None = None


class PreferencesResource(Resource):
    """What `POST /v1/generations` takes where a request leaves it out; null: the default of the service."""

    width: int | None
    height: int | None
    model: str | None
    provider: str | None


class MailPromise(Resource):
    """The same whether the address has an account or not."""

    detail: str


class AccountResource(Resource):
    """The account of the caller. `delete_after`: the deletion was requested, and happens then; null: it was not."""

    id: UUID
    email: str
    user_name: str | None
    role: Literal["user", "worker", "admin"]
    email_verified: bool = Field(description="false: no generation can be requested")
    created_at: Moment
    delete_after: Moment | None


class SessionResource(Resource):
    """A log-in. `last_seen_at` may be some minutes late; address and program are those of the log-in."""

    id: UUID
    current: bool = Field(description="whether it is the session of this request")
    created_at: Moment
    last_seen_at: Moment
    expires_at: Moment
    address: str
    user_agent: str


class SessionList(Resource):
    """The sessions that are valid, the one that was seen last first; at most 100."""

    data: list[SessionResource]


class CreateKey(Request):
    """`POST /v1/account/keys`. `scopes` null: all that the role of the user allows, also after a change of it."""

    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX, pattern=NO_NUL)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] | None = None
    expires_at: WrittenMoment | None = Field(default=None, strict=False, description="in the future; null: never")


class KeyResource(Resource):
    """An API key without its secret. `last_used_at` may be a minute or two late."""

    id: str = Field(description="the eight characters after `gg_live_`")
    name: str
    scopes: list[Scope]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None
    revoked_at: Moment | None


class NewKeyResource(KeyResource):
    """A new key. `key` is shown this once."""

    key: str


class KeyList(Resource):
    """All keys of the caller in the order of their creation, revoked ones too."""

    data: list[KeyResource]
