"""Requests of one user ask in turn, and share a refusal that was asked for while they waited."""

import asyncio
import uuid
from datetime import UTC, date, datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import admission_queue
from api.limits.admission_queue import AdmissionQueue
from gengui_stream.errors import TransientError
from gengui_stream.limits.admission import Admission, Limits, Usage
from gengui_stream.postgres.pool import REQUEST_WAITS

USERS = [uuid.UUID(int=1), uuid.UUID(int=2)]


class Quota:
    """Admits so many of each user; counts how many of one user ask at a time."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.asking, self.asked, self.most = limit, [0, 0], [0, 0], 0, 0

    async def ask(self, user: int) -> Admission:
        self.asked += 1
        self.asking[user] += 1
        self.most = max(self.most, self.asking[user])
        await asyncio.sleep(0)
        self.asking[user] -= 1
        full = self.used[user] >= self.limit
        self.used[user] += not full
        usage = Usage(datetime.now(UTC), date(2026, 1, 1), self.used[user], 0, Limits(self.limit, 0))
        return Admission(usage, counted=not full, refused_by="daily" if full else None)


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=40), st.integers(0, 10))
def test_the_answers_are_those_of_one_after_the_other(requests: list[tuple[int, bool]], limit: int) -> None:
    async def run() -> None:
        quota, queue = Quota(limit), AdmissionQueue()
        found = await asyncio.gather(
            *(queue.admit(USERS[user], partial(quota.ask, user), repeated=repeated) for user, repeated in requests)
        )
        for user in (0, 1):
            own = [one for one, (whose, _) in zip(found, requests, strict=True) if whose == user]
            assert sum(one.refused_by is None for one in own) == min(limit, len(own))
        assert quota.most <= 1
        assert queue.waiting == 0

    asyncio.run(run())


async def test_those_who_waited_share_a_refusal_and_later_ones_ask_again() -> None:
    quota, queue = Quota(2), AdmissionQueue()
    found = await asyncio.gather(*(queue.admit(USERS[0], lambda: quota.ask(0)) for _ in range(100)))
    assert (sum(one.refused_by is None for one in found), quota.asked) == (2, 3)
    quota.limit = 3
    assert (await queue.admit(USERS[0], lambda: quota.ask(0))).refused_by is None


async def test_while_one_request_gets_no_answer_the_others_wait_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission_queue, "TURN_WITHIN_S", 0.05)
    quota, queue, silent = Quota(1), AdmissionQueue(), asyncio.Event()

    async def ask() -> Admission:
        await silent.wait()
        return await quota.ask(0)

    first = asyncio.ensure_future(queue.admit(USERS[0], ask))
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
        found = await asyncio.gather(*(queue.admit(USERS[0], ask) for _ in range(100)), return_exceptions=True)
        assert {type(each) for each in found} == {TransientError}
        assert (await queue.admit(USERS[1], lambda: quota.ask(1))).counted, "another user does not wait"
        silent.set()
        assert (await first).counted
    assert queue.waiting == 0


def test_a_request_whose_turn_and_answer_take_longest_is_answered_within_ten_seconds() -> None:
    assert admission_queue.TURN_WITHIN_S + (REQUEST_WAITS.connection_s or 0) + REQUEST_WAITS.command_s < 10
