"""Sign-ups whose address was never verified are released, so that no stranger holds an address or a name for good."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from gengui_stream.accounts import deletion, emails, one_time_tokens, users
from gengui_stream.accounts.keys.api_keys import create_key, seed_user
from gengui_stream.postgres.pool import Pool

pytestmark = pytest.mark.stack

KEPT = timedelta(days=7)
AGE = "UPDATE accounts.reserved_names SET signed_up_at = now() - make_interval(days => $2) WHERE name = lower($1)"
REQUESTED = (
    "INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model,"
    " provider, max_attempts, requested_at)"
    " VALUES (gen_random_uuid(), $1, 'a fox', 1, 256, 256, 'm', 'local', 1, now())"
)


async def signed_up(pool: Pool, email: str, name: str, *, days_ago: int = 0) -> UUID | None:
    """As the API does it; None: the name is taken."""
    if await users.is_name_taken(pool, name):
        return None
    async with pool.acquire() as connection, connection.transaction():
        made = await users.sign_up(connection, email, name, "hash")
        assert made is not None
        kind: emails.EmailKind = "verification" if made.created else "address_taken"
        await emails.enqueue(connection, kind, made.user_id, made.email)
        await connection.execute(AGE, name, days_ago)
    return made.user_id


async def verify(pool: Pool, user_id: UUID, email: str) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        return await users.verify_email(connection, user_id, email)


async def users_left(pool: Pool) -> list[str]:
    return [row["email"] for row in await pool.fetch("SELECT email FROM accounts.users ORDER BY email")]


async def released(pool: Pool) -> list[UUID]:
    rows = await pool.fetch("SELECT subject_id FROM accounts.audit_events WHERE type = 'account.released'")
    return [row["subject_id"] for row in rows]


async def test_a_sign_up_that_was_never_verified_leaves_nothing(emptied: Pool) -> None:
    old = await signed_up(emptied, "ada@example.com", "Ada", days_ago=8)
    await signed_up(emptied, "bob@example.com", "bob", days_ago=6)
    assert old is not None
    async with emptied.acquire() as connection:
        token = await one_time_tokens.issue(connection, old, "verify_email", "ada@example.com")
    assert await deletion.release_sign_ups(emptied, KEPT) == 1
    assert await users_left(emptied) == ["bob@example.com"]
    assert await released(emptied) == [old]
    async with emptied.acquire() as connection:
        assert await one_time_tokens.use(connection, token, "verify_email") is None
    assert [row["recipient"] for row in await emptied.fetch("TABLE accounts.emails")] == ["bob@example.com"]
    assert await signed_up(emptied, "ADA@example.com", "grace") is not None, "the address is free"
    assert await signed_up(emptied, "grace@example.com", "ada") is not None, "and so is the name"
    assert await deletion.release_sign_ups(emptied, KEPT) == 0


async def test_accounts_that_are_more_than_a_sign_up_stay(emptied: Pool) -> None:
    made = {name: await signed_up(emptied, f"{name}@example.com", name, days_ago=100) for name in (
        "verified", "with_key", "admin", "generating", "requested", "leaving"
    )}  # fmt: skip
    assert await verify(emptied, made["verified"] or UUID(int=0), "verified@example.com")
    await create_key(emptied, "with_key@example.com")
    await emptied.execute("UPDATE accounts.users SET role = 'admin' WHERE user_name = 'admin'")
    await emptied.execute(
        "INSERT INTO accounts.daily_usage (user_id, day, used, open) VALUES ($1, '2026-01-01', 1, '{}')",
        made["generating"],
    )
    await emptied.execute(REQUESTED, made["requested"])
    await emptied.execute("UPDATE accounts.users SET delete_after = now() WHERE user_name = 'leaving'")
    await seed_user(emptied, "operator@example.com", "user")
    before = await users_left(emptied)
    assert await deletion.release_sign_ups(emptied, KEPT) == len(made)
    assert await users_left(emptied) == before
    assert await released(emptied) == []
    for name in made:
        assert await signed_up(emptied, "new@example.com", name) is None, "each keeps its name"
    assert await deletion.release_sign_ups(emptied, KEPT) == 0, "and is not looked at again"


async def test_when_a_name_is_free_again_does_not_tell_whether_the_address_was_known(emptied: Pool) -> None:
    ada = await signed_up(emptied, "ada@example.com", "ada", days_ago=10)
    assert await verify(emptied, ada or UUID(int=0), "ada@example.com")
    for email, name in (("ada@example.com", "first"), ("new@example.com", "second")):
        assert await signed_up(emptied, email, name, days_ago=8)
        assert await signed_up(emptied, email, f"{name}_again", days_ago=6)
    assert await deletion.release_sign_ups(emptied, KEPT) == 0, "another sign-up with the address prolongs both"
    names = ("first", "first_again", "second", "second_again")
    assert [await signed_up(emptied, "other@example.com", name) for name in names] == [None] * 4
    await emptied.execute("UPDATE accounts.reserved_names SET signed_up_at = signed_up_at - interval '2 days'")
    assert await deletion.release_sign_ups(emptied, KEPT) == 2
    assert all([await signed_up(emptied, f"{name}@example.com", name) for name in names])
    assert "ada@example.com" in await users_left(emptied)


async def test_a_former_name_stays_with_its_user(emptied: Pool) -> None:
    ada = await signed_up(emptied, "ada@example.com", "ada", days_ago=100)
    assert ada is not None
    assert await verify(emptied, ada, "ada@example.com")
    assert await deletion.release_sign_ups(emptied, KEPT) == 1
    for name in ("grace", "lovelace"):
        async with emptied.acquire() as connection, connection.transaction():
            assert await users.rename(connection, ada, name)
    assert await deletion.release_sign_ups(emptied, timedelta(0)) == 0
    for name in ("ada", "grace", "lovelace"):
        assert await signed_up(emptied, "new@example.com", name) is None
    async with emptied.acquire() as connection, connection.transaction():
        assert await users.rename(connection, ada, "Ada"), "it may take it again"


async def test_a_verification_and_a_sign_up_at_the_same_moment_count(emptied: Pool) -> None:
    """Each is in a transaction that has not ended while the release looks for accounts."""
    verified = await signed_up(emptied, "ada@example.com", "ada", days_ago=8)
    repeated = await signed_up(emptied, "bob@example.com", "bob", days_ago=8)
    assert verified is not None
    assert repeated is not None
    async with emptied.acquire() as verifying, emptied.acquire() as repeating:
        one, other = verifying.transaction(), repeating.transaction()
        await one.start()
        await other.start()
        assert await users.verify_email(verifying, verified, "ada@example.com")
        made = await users.sign_up(repeating, "bob@example.com", "bobby", "hash")
        assert made == users.SignUp(repeated, "bob@example.com", created=False)
        assert await deletion.release_sign_ups(emptied, KEPT) == 0
        await one.commit()
        await other.commit()
    assert await deletion.release_sign_ups(emptied, KEPT) == 1
    assert await users_left(emptied) == ["ada@example.com", "bob@example.com"]


async def test_processes_that_release_at_the_same_time_share_the_accounts(emptied: Pool) -> None:
    made = [await signed_up(emptied, f"user{n}@example.com", f"user{n}", days_ago=8) for n in range(30)]
    counts = await asyncio.gather(*(deletion.release_sign_ups(emptied, KEPT) for _ in range(4)))
    assert sum(counts) == len(made)
    assert sorted(await released(emptied), key=str) == sorted(filter(None, made), key=str)
    assert await users_left(emptied) == []
