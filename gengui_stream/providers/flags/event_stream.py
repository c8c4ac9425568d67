"""Parses server-sent events from chunks of bytes with arbitrary boundaries."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gengui_stream.errors import PermanentError

END_OF_LINE: Final = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """`type`: "message" when the server sends none."""

    type: str
    data: str


class EventStreamParser:
    """Reads the fields `event` and `data`. An event with a type and without data counts."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._held = 0
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[StreamedEvent]:
        """The events that the chunk completes. Raises PermanentError when one has more than `max_bytes`."""
        for line in self._lines(chunk):
            if not line:
                yield from self._ended()
            else:
                self._take(line.decode(errors="replace"))

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Scans the new bytes only. A carriage return at the end may be half a line ending, and is kept."""
        start = max(len(self._rest) - 1, 0)
        self._rest += chunk
        lines: list[bytes] = []
        begun = 0
        for end in END_OF_LINE.finditer(self._rest, start):
            if end.end() == len(self._rest) and end.group() == b"\r":
                break
            lines.append(bytes(self._rest[begun : end.start()]))
            begun = end.end()
        del self._rest[:begun]
        self._hold(len(self._rest))
        return lines

    def _hold(self, more: int) -> None:
        if self._held + more > self._max_bytes:
            raise PermanentError(f"an event has more than {self._max_bytes} bytes")

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._hold(len(value))
            self._held += len(value)
            self._data.append(value)

    def _ended(self) -> Iterator[StreamedEvent]:
        if self._type or self._data:
            yield StreamedEvent(self._type or "message", "\n".join(self._data))
        self._type, self._data, self._held = "", [], 0
