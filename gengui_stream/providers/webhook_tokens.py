"""The last part of a webhook's URL: which attempt it is about, and a proof that we made it up ourselves. Pure."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

TOKEN: Final = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,3})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AttemptName:
    """One attempt at one generation, at this provider."""

    provider: str
    generation_id: UUID
    attempt: int


def token_of(name: AttemptName, secret: str) -> str:
    """Cannot be guessed without the secret, and is good for this provider and attempt alone."""
    return f"{name.generation_id.hex}.{name.attempt}.{_proof(name, secret)}"


def attempt_of(provider: str, token: str, secret: str) -> AttemptName | None:
    """None for a token that we never made."""
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    name = AttemptName(provider, UUID(match[1]), int(match[2]))
    return name if hmac.compare_digest(match[3], _proof(name, secret)) else None


def _proof(name: AttemptName, secret: str) -> str:
    message = f"{name.provider}\n{name.generation_id.hex}\n{name.attempt}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
