"""Shows the e-mails that the role `account-jobs` prints to its log: without an SMTP server, they are its only copy."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gengui_stream.mail.console import PREFIX
from gengui_stream.process.lifecycle import pause

LOOK_EVERY_S: Final = 0.3


class ShownEmails:
    """The lines of e-mails that are appended to `log` from now on."""

    def __init__(self, log: Path, show: Callable[[str], None]) -> None:
        self._log = log
        self._show = show
        self._offset = self._size()

    async def keep_showing(self, ended: asyncio.Event) -> None:
        while not await pause(ended, LOOK_EVERY_S):
            self.show_new()

    def show_new(self) -> None:
        """Lines that are complete."""
        if self._size() < self._offset:  # a restarted role begins its log again
            self._offset = 0
        for line in self._new().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self._offset += len(line)
            if line.startswith(PREFIX.encode()):
                self._show(line.decode(errors="replace").rstrip("\n"))

    def _size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _new(self) -> bytes:
        if not self._log.exists():
            return b""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            return file.read()
