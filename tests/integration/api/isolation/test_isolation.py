"""No byte of one party reaches another: bodies, headers and streams are searched for the markers of all others.

`ISOLATION_SEED` and `ISOLATION_STEPS` choose the run; `make fuzz` has a long one.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from api import projection_waits
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.accounts.principals import Role
from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.visitors import an_account, log_in, visiting
from tests.integration.api.client import Client
from tests.integration.api.isolation.actions import Actions
from tests.integration.api.isolation.parties import LeakError, Party, Watch
from tests.integration.running import eventually

SEED = int(os.environ.get("ISOLATION_SEED", "20261130"))
STEPS = int(os.environ.get("ISOLATION_STEPS", "250"))


@asynccontextmanager
async def parties(base: str, pool: Pool, chance: random.Random) -> AsyncIterator[list[Party]]:
    """Two users with a key, two with a session, an admin, two workers, and a client without anything."""
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(aiohttp.ClientSession())

        def marker() -> str:
            return f"m{chance.randbytes(8).hex()}"

        async def with_key(role: Role) -> Party:
            name = marker()
            key = await seed_user(pool, f"{name}@example.com", role)
            user_id = await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = $1", f"{name}@example.com")
            return Party(role, name, plain, base, {"Authorization": f"Bearer {key}"}, user_id)

        async def with_session() -> Party:
            name = marker()
            user_id = await an_account(pool, name)
            visitor = await stack.enter_async_context(visiting(base))
            await log_in(visitor, name)
            return Party("user", name, visitor.session, base, {}, user_id)

        stranger = Party("stranger", marker(), plain, base)
        roles: list[Role] = ["user", "user", "admin", "worker", "worker"]
        yield [
            *[await with_key(role) for role in roles],
            await with_session(),
            await with_session(),
            stranger,
        ]


@pytest.mark.timeout(max(60, STEPS))
async def test_no_byte_of_another_appears(
    base: str, pool: Pool, dispatching: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wait for ids so young that the projections may lack them: each of another party would take 5 s."""
    monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", 0.05)
    monkeypatch.setattr(projection_waits, "CLOCK_SKEW_S", 0.0)
    chance = random.Random(SEED)
    async with parties(base, pool, chance) as found:
        watch = Watch(found)
        actions = Actions(watch, chance)
        for party in found:
            if party.kind in {"user", "admin"}:
                await actions.create(party)
        readers = [party for party in found if party.kind in {"user", "admin"}]
        following = [asyncio.ensure_future(watch.follow(one, "/v1/stream", within_s=10 + STEPS)) for one in readers]
        try:
            for _ in range(STEPS):
                await actions.one()
        finally:
            for one in following:
                one.cancel()
            ended = await asyncio.gather(*following, return_exceptions=True)
        assert [one for one in ended if isinstance(one, LeakError)] == []
        for party in readers:
            assert party.marker in (await watch.call(party, "GET", "/v1/generations")).text, (
                "the search finds one's own"
            )
        assert sum(len(party.leases) for party in found) > 0, "workers had jobs"
        assert all(party.received > 1_000 for party in found)
        statuses = {line.rsplit(" ", 1)[1] for line in watch.log}
        assert {"200", "202", "401", "403", "404"} <= statuses, statuses


async def test_a_leak_is_found(base: str, pool: Pool, session: aiohttp.ClientSession) -> None:
    """The key of another user is a leak of everything."""
    one, other = [await seed_user(pool, f"{name}@example.com", "user") for name in ("m1", "m2")]
    await Client(session, base, other).created(prompt="a fox m2marker")
    watched = Party("user", "m1marker", session, base, {"Authorization": f"Bearer {one}"})
    leaking = Party("user", "m1marker", session, base, {"Authorization": f"Bearer {other}"})
    others = Party("user", "m2marker", session, base)
    await Watch([watched, others]).call(watched, "GET", "/v1/generations")
    with pytest.raises(LeakError):
        await Watch([leaking, others]).call(leaking, "GET", "/v1/generations")

    async def leaks() -> bool:
        try:
            await Watch([leaking, others]).follow(leaking, "/v1/stream", within_s=0.3, Last_Event_ID="beginning")
        except LeakError:
            return True
        return False

    await eventually(leaks)
