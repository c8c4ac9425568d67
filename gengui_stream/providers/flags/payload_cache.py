"""The last payload of feature flags on disk, as it was received: encrypted if it was.

The first line of the file has the format, a digest of the connection, and a digest of the rest. Processes may share it.
"""

import asyncio
import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

FORMAT: Final = b"gengui-flags-1"
PAYLOAD_MAX_BYTES: Final = 8 * 1024 * 1024
HEADER_MAX_BYTES: Final = 200

_log = structlog.get_logger(__name__)


class PayloadCache:
    """Disk errors are logged and have no other effect. `owner`: payloads that were saved for another are not used."""

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = sha256(owner.encode()).hexdigest().encode()
        self._saved: bytes | None = None

    async def load(self) -> bytes | None:
        """None when there is none, or it is damaged or has another owner."""
        try:
            found = await asyncio.to_thread(_read, self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("flags_cache_not_read", path=str(self._path), error=error.strerror)
            return None
        header, _, payload = found.partition(b"\n")
        if header != self._header(payload):
            _log.warning("flags_cache_ignored", path=str(self._path), reason="damaged, or of another connection")
            return None
        return payload

    async def save(self, payload: bytes) -> None:
        """Atomic; the file is readable by this user alone."""
        header = self._header(payload)
        if header == self._saved:
            return
        try:
            await asyncio.to_thread(_replace, self._path, header + b"\n" + payload)
        except OSError as error:
            _log.warning("flags_cache_not_written", path=str(self._path), error=error.strerror)
        else:
            self._saved = header

    def _header(self, payload: bytes) -> bytes:
        return b" ".join((FORMAT, self._owner, sha256(payload).hexdigest().encode()))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_MAX_BYTES + PAYLOAD_MAX_BYTES)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
