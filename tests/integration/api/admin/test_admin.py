"""The admin API: users found and counted, limits, the queue, the audit trail; and what it leaves in that trail."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import aiohttp
import pytest
import pytest_asyncio

from gengui_stream.accounts.keys.api_keys import KeyChoice, seed_user
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from tests.integration.api.client import Client, Json, completed, failed
from tests.integration.running import eventually

USERS, QUEUE, COSTS, AUDIT = (f"/v1/admin/{name}" for name in ("users", "queue", "costs", "audit"))
UNKNOWN = "0195b7a0-0000-7000-8000-000000000000"


@pytest_asyncio.fixture
async def admin(base: str, session: aiohttp.ClientSession, pool: Pool) -> AsyncIterator[Client]:
    key = await seed_user(pool, "admin@example.com", "admin", KeyChoice(scopes=frozenset({"ops"})))
    await pool.execute("DELETE FROM accounts.audit_events")
    yield Client(session, base, key)


async def id_of(pool: Pool, email: str) -> str:
    return str(await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = $1", email))


async def trail(pool: Pool) -> list[tuple[str, str | None]]:
    rows = await pool.fetch("SELECT type, subject_id FROM accounts.audit_events ORDER BY event_id")
    return [(row["type"], str(row["subject_id"]) if row["subject_id"] else None) for row in rows]


def emails(page: Json) -> list[str]:
    return [user["email"] for user in page["data"]]


async def test_users_are_found_by_name_address_role_and_verification(
    admin: Client, user: Client, other: Client, worker: Client, pool: Pool
) -> None:
    await pool.execute(
        "UPDATE accounts.users SET user_name = 'Ada_L', email_verified_at = now() WHERE email LIKE 'other%'"
    )
    assert emails(await admin.get(USERS)) == [f"{name}@example.com" for name in ("worker", "other", "user", "admin")]
    for query, found in {
        "search=OTHER": ["other"],
        "search=ada_": ["other"],
        "search=_": ["other"],
        "search=%25": [],
        "role=worker": ["worker"],
        "email_verified=true": ["other"],
        "role=user&email_verified=false": ["user"],
        "search=example&role=admin": ["admin"],
    }.items():
        assert emails(await admin.get(f"{USERS}?{query}")) == [f"{name}@example.com" for name in found], query
    pages = [page async for page in admin.pages(USERS, 3)]
    assert [len(page["data"]) for page in pages] == [3, 1]
    assert {type_ for type_, _ in await trail(pool)} - {"user.created", "key.created"} == {"users.listed"}
    await pool.execute("UPDATE accounts.users SET deleted_at = now() WHERE email LIKE 'other%'")
    assert emails(await admin.get(f"{USERS}?search=other")) == []


async def test_the_counts_of_a_user_are_those_of_the_log(
    admin: Client, user: Client, other: Client, pool: Pool, event_log: EventLog
) -> None:
    user_id = await id_of(pool, "user@example.com")
    limits = {"daily_limit": 10, "in_progress_limit": None}
    assert (await admin.call("PUT", f"{USERS}/{user_id}/limits", json=limits))[0] == 200
    done, bad, _ = [await user.created() for _ in range(3)]
    await other.created()
    await event_log.append_many([completed(done), failed(bad)])
    expected = {"used_today": 3, "requested": 3, "completed": 1, "failed": 1}
    expected |= {"canceled": 0, "timed_out": 0, "moderated": 0}

    async def counted() -> bool:
        return bool((await admin.get(f"{USERS}/{user_id}"))["statistics"] == expected)

    await eventually(counted)
    [listed] = (await admin.get(f"{USERS}?search=user@&statistics=true"))["data"]
    assert (listed["id"], listed["statistics"]) == (user_id, expected)
    [plain] = (await admin.get(f"{USERS}?search=user@"))["data"]
    assert plain["statistics"] is None


async def test_one_user_is_shown_with_age_access_and_lock_state(admin: Client, user: Client, pool: Pool) -> None:
    user_id = await id_of(pool, "user@example.com")
    await seed_user(pool, "user@example.com", "user")
    await pool.execute("UPDATE accounts.users SET created_at = now() - interval '50 hours' WHERE user_id = $1", user_id)
    failures = (
        "INSERT INTO accounts.login_failures (login_hash, network, failures)"
        " VALUES (sha256('user@example.com'::bytea), $1, $2)"
    )
    for network, number in (("192.0.2.1", 7), ("192.0.2.2", 3), ("", 10)):
        await pool.execute(failures, network, number)
    found = await admin.get(f"{USERS}/{user_id}")
    assert (found["email"], found["age_days"]) == ("user@example.com", 2)
    access = found["access"]
    assert (access["keys"], access["sessions"], access["failed_log_ins"], access["locked_networks"]) == (2, 0, 10, 1)
    assert (await trail(pool))[-1] == ("user.read", user_id)
    for unknown in (UNKNOWN, "x", "%00"):
        for path in (f"{USERS}/{unknown}", f"{USERS}/{unknown}/limits"):
            assert (await admin.call("GET", path))[0] == 404, path


async def test_limits_are_set_and_taken_back(admin: Client, user: Client, pool: Pool) -> None:
    user_id = await id_of(pool, "user@example.com")
    path = f"{USERS}/{user_id}/limits"
    none, some = {"daily_limit": None, "in_progress_limit": None}, {"daily_limit": 5, "in_progress_limit": 0}
    assert await admin.get(path) == none
    for limits in (some, none, some):
        assert (await admin.call("PUT", path, json=limits))[::2] == (200, limits)
        assert await admin.get(path) == limits
    assert (await admin.get(f"{USERS}/{user_id}"))["daily_limit"] == 5
    detail = await pool.fetchval("SELECT detail FROM accounts.audit_events WHERE type = 'limits.changed' LIMIT 1")
    assert detail == '{"daily":[null,5],"in_progress":[null,0]}'
    for bad in (
        {"daily_limit": -1, "in_progress_limit": 1},
        {"daily_limit": 1.5, "in_progress_limit": 1},
        some | {"x": 1},
    ):
        assert (await admin.call("PUT", path, json=bad))[0] == 422
    assert (await admin.call("PUT", path, json={"daily_limit": 5}))[0] == 422, "the whole resource"
    assert (await admin.call("PUT", f"{USERS}/{UNKNOWN}/limits", json=some))[0] == 404
    assert await admin.get(path) == some


async def test_the_queue_is_counted_by_kind_and_provider(admin: Client, user: Client) -> None:
    empty = await admin.get(QUEUE)
    assert empty == {"open": 0, "oldest_age_s": None, "data": []}
    for _ in range(3):
        await user.created()

    async def queued() -> bool:
        return ("dispatch", "local", 3) in [
            (one["kind"], one["provider"], one["open"]) for one in (await admin.get(QUEUE))["data"]
        ]

    await eventually(queued)
    found = await admin.get(QUEUE)
    assert found["open"] == sum(one["open"] for one in found["data"])
    assert 0 <= found["oldest_age_s"] == max(one["oldest_age_s"] for one in found["data"]) < 60


async def test_costs_are_those_of_the_days_asked_for(admin: Client, pool: Pool) -> None:
    assert await admin.get(COSTS) == {"cost": 0.0, "data": []}
    used = "INSERT INTO projections.provider_usage VALUES ('runpod', 'm', $1, $2, 1, 2, 1500)"
    await pool.executemany(used, [(date(2026, 11, day), partition) for day in (1, 2) for partition in (0, 1)])
    own = {"provider": "runpod", "model": "m", "cost": None}
    for query, runs in {"": 4, "?since=2026-11-02": 2, "?until=2026-11-01": 2, "?since=2026-11-03": 0}.items():
        found = await admin.get(f"{COSTS}{query}")
        expected = {**own, "runs": runs, "images": 2 * runs, "run_seconds": 1.5 * runs, "unpriced_runs": runs}
        assert found == {"cost": 0.0, "data": [expected] if runs else []}
    for wrong in ("20261101", "2026-02-30", "2026-11-01T00:00:00Z", ""):
        status, _, body = await admin.call("GET", f"{COSTS}?since={wrong}")
        assert (status, body["errors"][0]["field"]) == (422, "since"), wrong


async def test_the_trail_is_read_by_type_user_time_and_page(admin: Client, user: Client, pool: Pool) -> None:
    user_id, admin_id = await id_of(pool, "user@example.com"), await id_of(pool, "admin@example.com")
    await admin.get(f"{USERS}/{user_id}")
    await admin.call("PUT", f"{USERS}/{user_id}/limits", json={"daily_limit": 1, "in_progress_limit": 1})
    found = await admin.get(f"{AUDIT}?subject_id={user_id}&actor_id={admin_id}")
    assert [event["type"] for event in found["data"]] == ["limits.changed", "user.read"]
    assert {(event["actor_id"], event["address"]) for event in found["data"]} == {(admin_id, "127.0.0.1")}
    assert all(event["request_id"] for event in found["data"])
    [one] = (await admin.get(f"{AUDIT}?type=limits.changed"))["data"]
    assert one["detail"] == {"daily": [None, 1], "in_progress": [None, 1]}
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    assert (await admin.get(f"{AUDIT}?occurred_after={later}"))["data"] == []
    assert len((await admin.get(f"{AUDIT}?occurred_before={later}&limit=100"))["data"]) > 3
    seen = [event["id"] async for page in admin.pages(f"{AUDIT}?subject_id={user_id}", 1) for event in page["data"]]
    assert seen == sorted(seen, reverse=True)
    assert ("audit.read", user_id) in await trail(pool), "the read is an event too"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{USERS}?role=root", "role"),
        (f"{USERS}?role=user,admin", "role"),
        (f"{USERS}?email_verified=yes", "email_verified"),
        (f"{USERS}?limit=0", "limit"),
        (f"{USERS}?cursor=x", "cursor"),
        (f"{USERS}?search=", "search"),
        (f"{USERS}?search=%00", "search"),
        (f"{USERS}?offset=1", "offset"),
        (f"{AUDIT}?type=DROP", "type"),
        (f"{AUDIT}?actor_id=x", "actor_id"),
        (f"{AUDIT}?cursor=x", "cursor"),
        (f"{AUDIT}?cursor=9999999999999999999", "cursor"),
        (f"{AUDIT}?occurred_after=yesterday", "occurred_after"),
        (f"{QUEUE}?x=1", "x"),
    ],
)
async def test_an_invalid_parameter_is_refused_by_name(admin: Client, pool: Pool, path: str, field: str) -> None:
    status, _, found = await admin.call("GET", path)
    assert (status, [fault["field"] for fault in found["errors"]]) == (422, [field])
    assert await trail(pool) == [], "nothing was read"


async def test_no_read_goes_without_its_event(admin: Client, user: Client, pool: Pool) -> None:
    user_id = await id_of(pool, "user@example.com")
    await pool.execute("ALTER TABLE accounts.audit_events ADD CONSTRAINT closed CHECK (type = 'none') NOT VALID")
    try:
        limits = {"daily_limit": 1, "in_progress_limit": 1}
        for method, path, body in (
            ("GET", USERS, None),
            ("GET", f"{USERS}/{user_id}", None),
            ("GET", AUDIT, None),
            ("PUT", f"{USERS}/{user_id}/limits", limits),
        ):
            sent = {"Authorization": f"Bearer {admin.key}"}
            async with admin.session.request(method, admin.base + path, json=body, headers=sent) as answer:
                assert (answer.status, (await answer.json())["code"]) == (500, "internal"), path
        assert await pool.fetchval("SELECT daily_limit FROM accounts.users WHERE user_id = $1", user_id) is None
    finally:
        await pool.execute("ALTER TABLE accounts.audit_events DROP CONSTRAINT closed")


async def test_the_past_of_anothers_generation_is_audited(
    base: str, session: aiohttp.ClientSession, user: Client, pool: Pool
) -> None:
    admin = Client(session, base, await seed_user(pool, "admin@example.com", "admin"))
    generation_id, position = await user.create()
    await user.get(f"/v1/generations/{generation_id}", Min_Position=position)
    assert (await admin.get(f"/v1/generations/{generation_id}?at={position}"))["id"] == generation_id
    assert (await trail(pool))[-1] == ("generation.read", await id_of(pool, "user@example.com"))
    own, position = await admin.create()
    await admin.get(f"/v1/generations/{own}", Min_Position=position)
    before = await trail(pool)
    await admin.get(f"/v1/generations/{own}?at={position}")
    assert await trail(pool) == before
