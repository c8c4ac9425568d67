"""Hashes of passwords: argon2id, on a few threads, with a short queue."""

import asyncio
import base64
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

PROFILE: Final = RFC_9106_LOW_MEMORY
"""64 MiB, three passes, a parallelism of four: the second recommended option of RFC 9106 (section 4). The first takes 2
GiB, and OWASP's minimum (19 MiB, two passes) costs an attacker a fifth of it. About 0.2 s of CPU."""

QUEUED_FOR_EACH: Final = 8
"""Hashes that wait for each thread. With 0.2 s of CPU for each, the last one waits for less than two seconds."""

NICENESS: Final = 5
"""Of the threads that hash, and of those that argon2 starts: other requests come first. On two busy cores with two
hashes running, the p99 of a request's time on the event loop was 37 ms with it, 85 ms without, and 11 ms without
hashes."""

T = TypeVar("T")


class PasswordsBusyError(Exception):
    """So many passwords are being hashed that another one would wait too long."""


@dataclass(frozen=True, slots=True)
class Verified:
    """`outdated`: the hash was made with other parameters, and is to be replaced."""

    matches: bool
    outdated: bool = False


class PasswordHashes:
    """Hashes and verifies at most `at_once` passwords concurrently. argon2 releases Python's lock, so that the event
    loop goes on."""

    def __init__(self, at_once: int, profile: Parameters = PROFILE) -> None:
        self._hasher = PasswordHasher.from_parameters(profile)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="password", initializer=_yield_to_others)
        self._admitted_max, self._admitted = at_once * (1 + QUEUED_FOR_EACH), 0
        self._dummy = _dummy_hash(profile)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_capacity(self) -> None:
        """Raises PasswordsBusyError when `hash` and `verify` would now: for a refusal before any other work."""
        if self._admitted >= self._admitted_max:
            raise PasswordsBusyError

    async def hash(self, password: str) -> str:
        """In the PHC string format. Raises PasswordsBusyError."""
        return await self._on_a_thread(partial(self._hasher.hash, _normal(password)))

    async def verify(self, password_hash: str | None, password: str) -> Verified:
        """Without a hash the same work is done, and nothing matches. Raises PasswordsBusyError."""
        return await self._on_a_thread(partial(self._verified, password_hash, _normal(password)))

    def _verified(self, password_hash: str | None, password: str) -> Verified:
        try:
            self._hasher.verify(password_hash or self._dummy, password)
        except (VerificationError, InvalidHashError):
            return Verified(matches=False)
        return Verified(password_hash is not None, self._hasher.check_needs_rehash(password_hash or self._dummy))

    async def _on_a_thread(self, call: Callable[[], T]) -> T:
        self.check_capacity()
        self._admitted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._admitted -= 1


def _yield_to_others() -> None:
    """On Linux, where a thread has a priority of its own. One that is lower already stays."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def _normal(password: str) -> str:
    """Keyboards write the same character in different ways."""
    return unicodedata.normalize("NFKC", password)


def _dummy_hash(profile: Parameters) -> str:
    """A hash of no password: a verification takes as long as that of another, and fails."""

    def text(size: int) -> str:
        return base64.b64encode(os.urandom(size)).rstrip(b"=").decode()

    costs = f"m={profile.memory_cost},t={profile.time_cost},p={profile.parallelism}"
    return f"$argon2id$v={profile.version}${costs}${text(profile.salt_len)}${text(profile.hash_len)}"
