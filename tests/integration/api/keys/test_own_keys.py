"""Users create, list and revoke their own keys with a session: never more than their role allows, and shown once."""

from datetime import UTC, datetime, timedelta

import pytest

from gengui_stream.accounts.keys import api_keys
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.conftest import ada
from tests.integration.api.accounts.visitors import audited
from tests.integration.api.client import Client, Json, key_id

__all__ = ["ada"]

KEYS = "/v1/account/keys"


async def a_key(ada: Client, **body: object) -> Json:
    status, _, made = await ada.call("POST", KEYS, json={"name": "laptop", **body})
    assert status == 201, made
    return made


async def test_a_key_is_created_used_listed_and_revoked(ada: Client, pool: Pool) -> None:
    made = await a_key(ada)
    assert key_id(made["key"]) == made["id"]
    assert (made["name"], made["scopes"]) == ("laptop", ["generations:read", "generations:write"])
    client = Client(ada.session, ada.base, made["key"])
    generation_id = await client.created()
    assert (await ada.get(f"/v1/generations/{generation_id}"))["id"] == generation_id
    [listed] = (await ada.get(KEYS))["data"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    for _ in range(2):
        assert (await ada.call("DELETE", f"{KEYS}/{made['id']}"))[0] == 204
        assert (await client.call("GET", "/v1/generations"))[0] == 401
    [listed] = (await ada.get(KEYS))["data"]
    assert listed["revoked_at"] is not None
    trail = await audited(pool)
    assert (trail.count("key.created"), trail.count("key.revoked")) == (1, 1)
    stored = str(await pool.fetch("TABLE accounts.api_keys")) + str(await pool.fetch("TABLE accounts.audit_events"))
    assert made["key"][17:] not in stored


async def test_a_revocation_ends_the_streams_of_the_key(ada: Client) -> None:
    made = await a_key(ada, scopes=["generations:read"])
    reader = Client(ada.session, ada.base, made["key"])
    async with reader.stream("/v1/stream") as stream:
        assert await stream.next() is not None
        assert (await ada.call("DELETE", f"{KEYS}/{made['id']}"))[0] == 204
        assert await stream.rest() == []


async def test_a_key_may_do_less_and_end(ada: Client) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    made = await a_key(ada, scopes=["generations:read"], expires_at=expires.isoformat())
    assert made["scopes"] == ["generations:read"]
    assert datetime.fromisoformat(made["expires_at"]) == expires
    reader = Client(ada.session, ada.base, made["key"])
    assert (await reader.call("GET", "/v1/generations"))[0] == 200
    status, _, found = await reader.call("POST", "/v1/generations", json={"prompt": "a fox"})
    assert (status, found["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["ops"]}, "scopes"),
        ({"scopes": ["worker", "generations:read"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes.0"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 1_900_000_000}, "expires_at"),
        ({"role": "admin"}, "role"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_by_its_field(ada: Client, body: Json, field: str) -> None:
    status, _, found = await ada.call("POST", KEYS, json={"name": "laptop", **body})
    assert (status, found["code"], [fault["field"] for fault in found["errors"]]) == (422, "invalid_request", [field])
    assert (await ada.get(KEYS))["data"] == []


async def test_the_keys_of_others_are_not_there(ada: Client, user: Client) -> None:
    for unknown in (key_id(user.key), "00000000", "x", user.key, "%00", "0" * 9):
        status, _, found = await ada.call("DELETE", f"{KEYS}/{unknown}")
        assert (status, found["code"]) == (404, "not_found"), unknown
    assert (await user.call("GET", "/v1/generations"))[0] == 200
    assert (await ada.get(KEYS))["data"] == []


async def test_a_key_makes_no_other_key(user: Client) -> None:
    for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/00000000")):
        body = {"name": "another"} if method == "POST" else None
        status, _, found = await user.call(method, path, json=body)
        assert (status, found["code"]) == (403, "session_required"), method


async def test_the_number_of_valid_keys_is_limited(ada: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "KEYS_OF_USER_MAX", 2)
    first, _ = await a_key(ada), await a_key(ada)
    status, _, found = await ada.call("POST", KEYS, json={"name": "third"})
    assert (status, found["code"]) == (409, "too_many_keys")
    assert (await ada.call("DELETE", f"{KEYS}/{first['id']}"))[0] == 204
    await a_key(ada)
    await seed_user(pool, "other@example.com", "user")


async def test_the_list_is_bounded_and_has_valid_keys_first(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "KEYS_LISTED_MAX", 4)
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    revoked = [str((await a_key(ada))["id"]) for _ in range(3)]
    ends, stays = str((await a_key(ada, expires_at=soon))["id"]), str((await a_key(ada))["id"])
    for key in revoked:
        assert (await ada.call("DELETE", f"{KEYS}/{key}"))[0] == 204
    assert [key["id"] for key in (await ada.get(KEYS))["data"]] == [stays, ends, revoked[2], revoked[1]]
