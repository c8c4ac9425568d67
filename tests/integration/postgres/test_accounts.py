"""API keys and idempotency keys against PostgreSQL."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from gengui_stream.accounts import idempotency
from gengui_stream.accounts.idempotency import Reservation, reserve, settle
from gengui_stream.accounts.keys.api_keys import authenticate, hash_key, seed_user
from gengui_stream.accounts.keys.key_text import checksum
from gengui_stream.accounts.principals import SCOPES_OF, Principal
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.postgres.pool import Pool
from tests.events import NOON
from tests.integration.running import a_request

pytestmark = pytest.mark.stack


async def everything(pool: Pool) -> str:
    """Whatever the tables of accounts hold, as text."""
    rows = [
        row
        for table in ("users", "api_keys", "idempotency_keys")
        for row in await pool.fetch(f"TABLE accounts.{table}")
    ]
    return "\n".join(map(str, rows))


async def test_a_key_says_whose_it_is(emptied: Pool) -> None:
    key = await seed_user(emptied, "one@example.com", "worker")
    principal = await authenticate(emptied, key)
    [user] = await emptied.fetch("SELECT user_id FROM accounts.users")
    assert principal == Principal(user["user_id"], "worker", SCOPES_OF["worker"])
    assert principal.scopes == {"worker"}


async def test_only_its_hash_is_kept(emptied: Pool) -> None:
    key = await seed_user(emptied, "one@example.com", "user")
    public, secret = key.removeprefix("gg_live_").split("_", 1)
    kept = await everything(emptied)
    assert public in kept
    assert secret not in kept
    assert await emptied.fetchval("SELECT secret_hash FROM accounts.api_keys") == hash_key(key)


async def test_a_second_key_leaves_the_first_good_and_the_user_one(emptied: Pool) -> None:
    first = await seed_user(emptied, "one@example.com", "user")
    second = await seed_user(emptied, "one@example.com", "user")
    assert first != second
    assert await emptied.fetchval("SELECT count(*) FROM accounts.users") == 1
    assert await authenticate(emptied, first) == await authenticate(emptied, second)
    with pytest.raises(PermanentError, match="exists with the role user"):
        await seed_user(emptied, "one@example.com", "admin")
    assert await emptied.fetchval("SELECT role FROM accounts.users") == "user"


async def test_a_revoked_key_is_nobodys(emptied: Pool) -> None:
    key, other = [await seed_user(emptied, "one@example.com", "user") for _ in range(2)]
    await emptied.execute("UPDATE accounts.api_keys SET revoked_at = now() WHERE secret_hash = $1", hash_key(key))
    assert await authenticate(emptied, key) is None
    assert await authenticate(emptied, other) is not None


async def test_a_key_of_an_earlier_release_is_valid(emptied: Pool) -> None:
    new = await seed_user(emptied, "one@example.com", "user")
    earlier = "gg_1f2e3d4c_" + "x" * 43
    await emptied.execute(
        "UPDATE accounts.api_keys SET key_id = '1f2e3d4c', secret_hash = $1 WHERE secret_hash = $2",
        hash_key(earlier),
        hash_key(await seed_user(emptied, "one@example.com", "user")),
    )
    assert await authenticate(emptied, earlier) == await authenticate(emptied, new)
    assert await authenticate(emptied, earlier[:-1]) is None


async def test_a_key_without_its_checksum_costs_no_query(emptied: Pool) -> None:
    key = await seed_user(emptied, "one@example.com", "user")
    await emptied.close()
    assert await authenticate(emptied, key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    with pytest.raises(TransientError):
        await authenticate(emptied, key)


def with_checksum(begun: str) -> str:
    return begun + checksum(begun)


@pytest.mark.parametrize(
    "change",
    [
        "last",
        "id",
        "id, with its checksum",
        "secret, with its checksum",
        "case",
        "longer",
        "shorter",
        "blank",
        "nul",
        "nothing",
        "other",
    ],
)
async def test_a_key_that_is_not_exactly_one_is_nobodys(emptied: Pool, change: str) -> None:
    key = await seed_user(emptied, "one@example.com", "user")
    last = "A" if key[-1] != "A" else "B"
    changed = {
        "last": key[:-1] + last,
        "id": "gg_live_00000000" + key[16:],
        "id, with its checksum": with_checksum("gg_live_00000000" + key[16:-6]),
        "secret, with its checksum": with_checksum(key[:-7] + ("A" if key[-7] != "A" else "B")),
        "case": key.upper(),
        "longer": key + last,
        "shorter": key[:-1],
        "blank": key + "\n",
        "nul": key[:-1] + "\x00",
        "nothing": "",
        "other": "gg_live_%_" + key[17:],
    }
    assert await authenticate(emptied, changed[change]) is None


async def test_of_many_tries_under_one_key_one_event_holds(emptied: Pool) -> None:
    tries = [a_request(owner_id=UUID(int=1)) for _ in range(8)]
    held = await asyncio.gather(*(reserve(emptied, "k", b"hash", each) for each in tries))
    [reservation] = set(held)
    assert reservation.event in tries
    assert reservation.position is None


async def test_a_reservation_keeps_the_first_position(emptied: Pool) -> None:
    mine = a_request(owner_id=UUID(int=1))
    await reserve(emptied, "k", b"hash", mine)
    assert [await settle(emptied, UUID(int=1), "k", position) for position in ("2:41", "2:42")] == ["2:41", "2:41"]
    later = a_request(owner_id=UUID(int=1))
    assert await reserve(emptied, "k", b"other", later) == Reservation(b"hash", mine, "2:41")


async def abandoned(pool: Pool) -> None:
    """The process that reserved the event ended before the append, a while ago."""
    await pool.execute("UPDATE accounts.idempotency_keys SET created_at = created_at - interval '2 days'")


async def test_a_reservation_that_was_never_appended_is_renewed(emptied: Pool) -> None:
    """Its own times would end the generation at once, or make the fold ignore it; its ids are the client's."""
    early, late = (a_request(owner_id=UUID(int=1), occurred_at=NOON + timedelta(days=days)) for days in (0, 2))
    await reserve(emptied, "k", b"hash", early)
    assert (await reserve(emptied, "k", b"hash", late)).event == early, "it may be about to be appended"
    await abandoned(emptied)
    held = await asyncio.gather(*(reserve(emptied, "k", b"hash", late) for _ in range(8)))
    [reservation] = set(held)
    renewed = reservation.event
    assert (renewed.id, renewed.generation_id, renewed.prompt) == (early.id, early.generation_id, early.prompt)
    assert (renewed.occurred_at, renewed.deadline) == (late.occurred_at, late.deadline)


async def test_a_reservation_with_a_position_is_never_renewed(emptied: Pool) -> None:
    early, late = (a_request(owner_id=UUID(int=1), occurred_at=NOON + timedelta(days=days)) for days in (0, 2))
    await reserve(emptied, "k", b"hash", early)
    await settle(emptied, UUID(int=1), "k", "2:41")
    await abandoned(emptied)
    assert await reserve(emptied, "k", b"hash", late) == Reservation(b"hash", early, "2:41")


async def test_another_owners_key_is_another_key(emptied: Pool) -> None:
    both = [a_request(owner_id=UUID(int=number)) for number in (1, 2)]
    assert [(await reserve(emptied, "k", b"hash", each)).event for each in both] == both


async def test_away_is_not_refused(emptied: Pool) -> None:
    """An unavailable database must not be reported as an invalid key."""
    key = await seed_user(emptied, "one@example.com", "user")
    await emptied.close()
    with pytest.raises(TransientError):
        await authenticate(emptied, key)


async def test_old_keys_are_forgotten_in_steps_and_recent_ones_are_kept(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PRUNED_MAX", 2)
    for number in range(6):
        request = a_request()
        await reserve(emptied, f"key {number}", b"hash", request)
    age = "UPDATE accounts.idempotency_keys SET created_at = now() - interval '8 days' WHERE key < 'key 5'"
    await emptied.execute(age)
    assert [await idempotency.prune(emptied, timedelta(days=7)) for _ in range(4)] == [2, 2, 1, 0]
    assert await emptied.fetchval("SELECT array_agg(key) FROM accounts.idempotency_keys") == ["key 5"]
