"""Hashes of passwords: the profile, the same work without a hash, and the bound."""

import asyncio
import os
import sys
import threading
from dataclasses import replace

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from gengui_stream.accounts import passwords
from gengui_stream.accounts.passwords import NICENESS, PasswordHashes, PasswordsBusyError
from tests.integration.api.accounts.passwords import CHEAP


async def test_a_hash_has_the_parameters_of_rfc_9106() -> None:
    async with PasswordHashes(1) as hashes:
        made = await hashes.hash("correct horse")
        assert extract_parameters(made) == RFC_9106_LOW_MEMORY
        assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert (await hashes.verify(made, "correct horse")).matches
        assert not (await hashes.verify(made, "correct horsf")).matches


async def test_without_a_hash_the_same_parameters_are_computed_and_nothing_matches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified: list[str] = []
    original = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002
        verified.append(str(hash))
        return original(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    async with PasswordHashes(1, CHEAP) as hashes:
        assert not (await hashes.verify(None, "")).matches
        assert not (await hashes.verify(None, "correct horse")).matches
        assert not (await hashes.verify("not a hash", "correct horse")).matches
    assert [extract_parameters(known) for known in verified[:2]] == [CHEAP, CHEAP]


async def test_a_hash_with_other_parameters_is_outdated() -> None:
    async with PasswordHashes(1, CHEAP) as older, PasswordHashes(1, replace(CHEAP, time_cost=2)) as newer:
        made = await older.hash("correct horse")
        assert not (await older.verify(made, "correct horse")).outdated
        assert (await newer.verify(made, "correct horse")).outdated


async def test_beyond_the_queue_a_password_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "QUEUED_FOR_EACH", 2)
    release, running, highest = threading.Event(), 0, 0
    lock = threading.Lock()

    def held(*_: object) -> str:
        nonlocal running, highest
        with lock:
            running += 1
            highest = max(highest, running)
        release.wait()
        with lock:
            running -= 1
        return "hash"

    monkeypatch.setattr(PasswordHasher, "hash", held)
    async with PasswordHashes(2, CHEAP) as hashes, asyncio.TaskGroup() as group:
        admitted = [group.create_task(hashes.hash("x")) for _ in range(6)]
        await asyncio.sleep(0)
        with pytest.raises(PasswordsBusyError):
            await hashes.hash("x")
        admitted.pop().cancel()
        await asyncio.sleep(0)
        admitted.append(group.create_task(hashes.hash("x")))
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*admitted) == ["hash"] * 6
        assert await hashes.hash("x") == "hash"
    assert highest == 2


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
async def test_hashes_yield_to_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    def niceness(*_: object) -> str:
        return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = niceness()
    monkeypatch.setattr(PasswordHasher, "hash", niceness)
    async with PasswordHashes(1, CHEAP) as hashes:
        assert int(await hashes.hash("x")) == max(int(before), NICENESS)
    assert niceness() == before
