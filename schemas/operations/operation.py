"""What describes one operation of the HTTP API."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel

EVENT_STREAM: Final = "text/event-stream"

Answer: TypeAlias = type[BaseModel] | str | None
"""A model as JSON, the content type of a text, or None for an empty body."""

Auth: TypeAlias = Literal["none", "key", "token", "session"]
"""What a request needs. `key`: an API key, or the cookie of a session. `token`: one of these, or a stream token in the
query. `session`: the cookie alone."""


Scope: TypeAlias = Literal["generations:read", "generations:write", "worker", "ops"]
"""What a key may do. `generations:*`: with those of its user. `worker`: take jobs and report on them. `ops`: operate
the service, with the generations and accounts of all users."""

AddressLimit: TypeAlias = Literal["log_in", "sign_up", "password_reset", "verification"]
"""The policy that limits requests by client address, before authentication."""

ADDRESS_LIMITS: Final[Mapping[str, AddressLimit]] = MappingProxyType(
    {
        "log_in": "log_in",
        "sign_up": "sign_up",
        "request_password_reset": "password_reset",
        "reset_password": "password_reset",
        "verify_email": "verification",
        "resend_verification": "verification",
        "change_email": "verification",
        "confirm_email": "verification",
    }
)
"""By the name of the operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `answers`: by status; `refusals`: the statuses of its problem documents, without the 429 of limits;
    `scope`: that a key must have."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    auth: Auth = "key"
    scope: Scope | None = None

    @property
    def address_limit(self) -> AddressLimit | None:
        return ADDRESS_LIMITS.get(self.name)

    @property
    def limited(self) -> bool:
        """Whether it may answer with 429, and has the fields `RateLimit` and `RateLimit-Policy`."""
        return self.auth != "none" or self.address_limit is not None
