"""Ends connections whose clients take nothing of what was sent: they would hold its memory for as long as they like."""

import asyncio
import fcntl
import sys
import termios
from typing import Final

import structlog
from aiohttp.abc import AbstractStreamWriter

TAKEN_MIN_BYTES: Final = 16 * 1024
"""In each interval, of what was sent to it: by the acknowledgements of TCP, where the kernel tells how many are
outstanding."""

_log = structlog.get_logger(__name__)


def unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that this process and, on Linux, the kernel still hold. The kernel takes more from the process only once a
    good part of its own buffer is free, which may be megabytes."""
    held = transport.get_write_buffer_size()
    try:
        outstanding = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):  # a system without it, or a socket that is closed by now
        return held
    return held + int.from_bytes(outstanding, sys.byteorder)


class SlowReaderWatch:
    """Of one connection. From `start` on, until nothing is left to be sent, the client must take TAKEN_MIN_BYTES in
    each interval of `timeout_s`, however much is written meanwhile."""

    __slots__ = ("_loop", "_taken_before", "_timeout_s", "_timer", "_writer", "_written_before", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop, self._timeout_s = loop, timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._writer: AbstractStreamWriter | None = None
        self._written_before = self._taken_before = 0
        self.transport: asyncio.Transport | None = None

    def next_response(self, writer: AbstractStreamWriter) -> None:
        """`writer`: of the one response that is written from now on."""
        self._written_before, self._writer = self._written(), writer

    def start(self) -> None:
        """May be repeated."""
        if self._timer is None and self.transport is not None:
            self._taken_before = self._written() - unacknowledged(self.transport)
            if self.transport.get_write_buffer_size():
                self._timer = self._loop.call_later(self._timeout_s, self._check)

    def restart(self) -> None:
        """Now that much is left again, after a time with little: the interval begins here."""
        self._cancel()
        self.start()

    def stop(self) -> None:
        """The connection has ended."""
        self.transport = self._writer = None
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _written(self) -> int:
        return self._written_before + (self._writer.output_size if self._writer is not None else 0)

    def _check(self) -> None:
        self._timer = None
        if self.transport is None:
            return
        held, taken = self.transport.get_write_buffer_size(), self._written() - unacknowledged(self.transport)
        if held and taken - self._taken_before < TAKEN_MIN_BYTES:
            _log.info("slow_client_disconnected", unsent_bytes=held)
            self.transport.abort()
        else:
            self.start()
