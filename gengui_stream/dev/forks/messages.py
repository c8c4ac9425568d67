"""The messages between a fork server and its client: one JSON document each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

MESSAGE_BYTES: Final = 1 << 17
"""More than an environment needs; Linux sends at most 200 kB in one message."""


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Start `gengui-stream` with the arguments, in `cwd` if given. Its output is appended to the file `log`."""

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    log: str
    cwd: str | None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> "ForkRequest":
        return cls(**json.loads(message))


@dataclass(frozen=True, slots=True)
class ProcessState:
    """`exit_code`: None after the start; negative for the signal that ended it."""

    pid: int
    exit_code: int | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> "ProcessState":
        return cls(**json.loads(message))
