"""The messages of the watching process to `dev`: one JSON document a line."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gengui_stream.roles import RoleName


@dataclass(frozen=True, slots=True)
class Change:
    """`faults`: files that do not parse, with the place; no role is restarted then. `environment`: `.env` changed,
    which affects every role."""

    files: Sequence[str] = ()
    roles: Sequence[RoleName] = ()
    faults: Sequence[str] = ()
    environment: bool = False

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: bytes) -> "Change":
        return cls(**json.loads(line))
