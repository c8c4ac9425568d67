"""Stream tokens: for event streams alone, for some minutes, and no longer than their key is valid."""

import pytest

from api import projection_waits
from gengui_stream.accounts.keys.api_keys import revoke_key
from gengui_stream.accounts.keys.stream_tokens import VALID_FOR
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from tests.integration.api.client import Client, Json, completed, key_id, thumbnail

TOKENS, ALL = "/v1/stream-tokens", "/v1/stream"


async def token_of(user: Client) -> Json:
    status, headers, made = await user.call("POST", TOKENS)
    assert (status, headers["Cache-Control"]) == (201, "no-store"), made
    return made


async def test_a_token_opens_the_streams_of_its_user_and_nothing_else(
    user: Client, other: Client, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await token_of(user))["token"]
    bare = Client(user.session, user.base, "")
    generation_id, foreign = await user.created(), await other.created()
    monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", 0.1)
    path = f"/v1/generations/{generation_id}/stream"
    await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
    async with bare.stream(f"{path}?token={token}") as stream:
        whole = await stream.rest()
    assert [message.event for message in whole][-1] == "end"
    async with bare.stream(f"{path}?token={token}&last_event_id={whole[0].id}") as stream:
        assert await stream.rest() == whole[1:], "where a former EventSource was"
    async with bare.stream(f"{path}?token={token}&last_event_id={whole[0].id}", last_event_id=whole[1].id) as stream:
        assert await stream.rest() == whole[2:], "a reconnecting EventSource sends where it is"
    async with bare.stream(f"{ALL}?token={token}") as stream:
        assert await stream.next() is not None
    status, _, found = await bare.call("GET", f"/v1/generations/{foreign}/stream?token={token}")
    assert (status, found["code"]) == (504, "projection_behind"), "as for every young id that is not its own"
    for method, elsewhere in (("GET", "/v1/generations"), ("GET", path.removesuffix("/stream")), ("POST", TOKENS)):
        for address, key in ((f"{elsewhere}?token={token}", ""), (elsewhere, token)):
            status, _, found = await Client(user.session, user.base, key).call(method, address)
            assert (status, found["code"]) == (401, "unauthorized"), (method, address)


async def test_a_token_ends_with_its_time_and_with_its_key(user: Client, pool: Pool) -> None:
    expired, token = (await token_of(user))["token"], (await token_of(user))["token"]
    assert await pool.fetchval("SELECT count(*) FROM accounts.stream_tokens") == 2
    stored = str(await pool.fetch("TABLE accounts.stream_tokens"))
    assert token not in stored
    await pool.execute(
        "UPDATE accounts.stream_tokens SET expires_at = expires_at - $2::interval WHERE token_hash = sha256($1::bytea)",
        expired.encode(),
        VALID_FOR,
    )
    bare = Client(user.session, user.base, "")
    for bad in (expired, token + "x", token[:-1], "", "x", user.key, "%00"):
        status, _, found = await bare.call("GET", f"{ALL}?token={bad}")
        assert (status, found["code"]) == (401, "unauthorized"), bad
        assert "POST /v1/stream-tokens" in found["detail"]
    await revoke_key(pool, key_id(user.key))
    status, _, _ = await bare.call("GET", f"{ALL}?token={token}")
    assert status == 401
    status, _, _ = await user.call("POST", TOKENS)
    assert status == 401


async def test_open_streams_end_with_their_key(user: Client, other: Client, pool: Pool) -> None:
    token = (await token_of(user))["token"]
    bare = Client(user.session, user.base, "")
    async with user.stream(ALL) as by_key, bare.stream(f"{ALL}?token={token}") as by_token, other.stream(ALL) as others:
        for stream in (by_key, by_token, others):
            await stream.next()
        await pool.execute("DELETE FROM accounts.stream_tokens")
        await user.create()
        for stream in (by_key, by_token):
            assert [message.event for message in await stream.events(1)] == ["generation.requested"], "an expired token"
        await revoke_key(pool, key_id(user.key))
        for stream in (by_key, by_token):
            assert await stream.rest() == []
            assert stream.seen[-1].comment == "the key was revoked, or the session has ended"
        await other.create()
        assert [message.event for message in await others.events(1)] == ["generation.requested"]


async def test_a_token_is_in_no_log(user: Client, capsys: pytest.CaptureFixture[str]) -> None:
    token = (await token_of(user))["token"]
    bare = Client(user.session, user.base, "")
    async with bare.stream(f"{ALL}?token={token}") as stream:
        await stream.next()
    for path in (f"/nowhere?token={token}", f"{ALL}?token={token}&token={token}", f"{ALL}?token={token}&x=1"):
        _, _, found = await bare.call("GET", path)
        assert token not in str(found)
    printed = capsys.readouterr()
    assert token not in printed.out + printed.err
