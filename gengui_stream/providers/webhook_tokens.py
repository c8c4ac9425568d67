"""The last segment of a webhook URL: the attempt it is for, and a signature. Pure."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

TOKEN: Final = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,3})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AttemptName:
    """One attempt of one generation, at this provider."""

    provider: str
    generation_id: UUID
    attempt: int


def token_of(name: AttemptName, secret: str) -> str:
    """A token that is valid for this provider and attempt alone."""
    return f"{name.generation_id.hex}.{name.attempt}.{_signature(name, secret)}"


def attempt_of(provider: str, token: str, secret: str) -> AttemptName | None:
    """The attempt of a token; None for an invalid token."""
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    name = AttemptName(provider, UUID(match[1]), int(match[2]))
    return name if hmac.compare_digest(match[3], _signature(name, secret)) else None


def _signature(name: AttemptName, secret: str) -> str:
    message = f"{name.provider}\n{name.generation_id.hex}\n{name.attempt}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
