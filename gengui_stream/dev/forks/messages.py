"""What the two ends of a fork server tell each other: one JSON document in each message."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

MESSAGE_BYTES: Final = 1 << 17
"""More than an environment takes; Linux sends no more than 200 kB in one message."""


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
    """`exit_code` None: it was started. Negative: the signal that ended it."""

    pid: int
    exit_code: int | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> "ProcessState":
        return cls(**json.loads(message))
