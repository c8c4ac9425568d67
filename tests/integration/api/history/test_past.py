"""A generation as it was: for keys of the role admin alone, at any moment that its events have."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import pytest_asyncio

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from tests.events import wide_history
from tests.integration.api.client import Client
from tests.integration.running import eventually, state_of

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture
async def admin(base: str, session: aiohttp.ClientSession, pool: Pool) -> Client:
    return Client(session, base, await seed_user(pool, "admin@example.com", "admin"))


async def test_an_admin_sees_a_generation_as_it_was(
    admin: Client, user: Client, pool: Pool, event_log: EventLog
) -> None:
    history = wide_history(0, start=datetime.now(UTC))
    positions = [await event_log.append(event) for event in history]
    path = f"/v1/generations/{history[0].generation_id}"

    async def projected() -> bool:
        state = await state_of(pool, history[0].generation_id)
        return state is not None and state.version == 10

    await eventually(projected)
    first = await admin.get(f"{path}?at={positions[0]}")
    assert (first["status"], first["version"], first["outputs"], first["queue"]) == ("queued", 1, [], None)
    assert first["prompt"]
    fifth = await admin.get(f"{path}?at={positions[4]}")
    assert (fifth["status"], fifth["progress"]) == ("processing", {"percent": 30.0, "stage": "sampling"})
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    last = await admin.get(f"{path}?at={now}")
    assert (last["status"], last["version"], len(last["outputs"])) == ("completed", 10, 1)
    status, _, found = await user.call("GET", f"{path}?at={positions[4]}")
    assert (status, found["code"]) == (403, "forbidden")


async def test_a_deleted_generation_was_there_until_it_was_deleted(admin: Client, user: Client) -> None:
    generation_id, requested = await user.create()
    path = f"/v1/generations/{generation_id}"
    _, deleting, _ = await user.call("DELETE", path, headers={"Min-Position": requested})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for at in (deleting["Gengui-Position"], now):
        status, _, found = await admin.call("GET", f"{path}?at={at}")
        assert (status, found["code"]) == (404, "not_found")
        assert "deleted by then" in found["detail"]
    assert (await admin.get(f"{path}?at={requested}"))["status"] == "queued"


async def test_a_history_that_is_incomplete_is_no_fault_of_the_moment(admin: Client, pool: Pool) -> None:
    generation_id = await admin.created()
    await pool.execute("UPDATE projections.generation_states SET timeline_pruned_before = now()")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, _, found = await admin.call("GET", f"/v1/generations/{generation_id}?at={now}")
    assert (status, found["code"], found.get("errors")) == (409, "history_incomplete", None)
    assert "--scan" not in found["detail"]


async def test_moments_that_are_none_are_refused(admin: Client, event_log: EventLog) -> None:
    generation_id = await admin.created()
    path = f"/v1/generations/{generation_id}"
    for at, words in (
        ((datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "has not come yet"),
        ("2020-01-01T00:00:00Z", "before the first event"),
        ("99:0", "has no partition 99"),
        ("yesterday", "RFC 3339"),
        ("0:99999999", ""),
    ):
        status, _, found = await admin.call("GET", f"{path}?at={at}")
        assert (status, found["errors"][0]["field"]) == (422, "at"), found
        assert words in found["errors"][0]["message"]
    status, _, found = await admin.call("GET", f"/v1/generations/{new_id()}?at=2026-01-01T00:00:00Z")
    assert (status, found["code"]) == (404, "not_found")
