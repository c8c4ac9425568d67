"""Who acts in a request, and what the key or the session allows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

from schemas.operations.operation import Scope

Role: TypeAlias = Literal["user", "worker", "admin"]
"""Of a user. `worker`: an account of machines, whose keys have the scope `worker` alone."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

SCOPES_OF: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    {
        "user": frozenset(("generations:read", "generations:write")),
        "worker": frozenset(("worker",)),
        "admin": frozenset(SCOPES),
    }
)
"""The most that a key of a user with this role may do."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated user. `key_id`: the API key that was used; empty with a session, whose id is then
    `session_id`. `may_generate`: the e-mail address is confirmed, or an operator made the account."""

    user_id: UUID
    role: Role
    scopes: frozenset[Scope] = field(compare=False)
    key_id: str = field(default="", compare=False)
    session_id: UUID | None = field(default=None, compare=False)
    may_generate: bool = field(default=True, compare=False)

    @property
    def credential(self) -> str:
        """The id of the key or of the session."""
        return self.key_id or str(self.session_id)

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes


def granted(role: Role, chosen: "frozenset[Scope] | None") -> frozenset[Scope]:
    """The scopes of a key: those chosen for it, as far as the role allows them; None: all that the role allows."""
    return SCOPES_OF[role] if chosen is None else SCOPES_OF[role] & chosen
