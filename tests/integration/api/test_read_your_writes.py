"""What a client has just written is waited for, and what cannot be there is refused at once."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import aiohttp
import pytest

from api import projection_waits
from api.limits.wait_limit import WAITS_MAX
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.domain.identifiers import uuid7
from gengui_stream.identifiers import new_id
from gengui_stream.log.partitions import partition_of
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving
from tests.integration.log.logs import send_to
from tests.integration.projector.projecting import project_everything, projecting
from tests.integration.running import DEADLINE_S, eventually

LIST = "/v1/generations"
LONG_AGO = uuid7(1_600_000_000_000, bytes(10))
USES = [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", ""), ("POST", "/retry")]


async def test_the_urls_of_a_response_work_before_the_projections_have_it(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", DEADLINE_S)
    key = await seed_user(pool, "user@example.com", "user")
    async with AsyncExitStack() as later, serving(settings, session) as address:
        user = Client(session, address, key)
        made = [(await user.create())[0] for _ in USES]
        streamed, _ = await user.create()
        calls = [
            asyncio.ensure_future(user.call(method, f"{LIST}/{generation_id}{path}"))
            for generation_id, (method, path) in zip(made, USES, strict=True)
        ]
        stream = asyncio.ensure_future(later.enter_async_context(user.stream(f"{LIST}/{streamed}/stream")))
        done, _ = await asyncio.wait([*calls, stream], timeout=0.5)
        assert not done, "they wait"
        await later.enter_async_context(projecting(settings))
        assert [(await call)[0] for call in calls] == [200, 200, 200, 204, 409]
        [first] = await (await stream).events(1)
        assert first.event == "generation.requested"


async def test_an_id_is_never_missing_while_its_request_may_be_on_its_way(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", 0.3)
    async with serving(settings, session) as address:
        user = Client(session, address, await seed_user(pool, "user@example.com", "user"))
        generation_id, position = await user.create()
        for method, path in USES:
            status, headers, found = await user.call(method, f"{LIST}/{generation_id}{path}")
            assert (status, found["code"], headers["Retry-After"]) == (504, "projection_behind", "1"), (method, path)
        with monkeypatch.context() as aged:  # the log still has it, and the projections do not
            aged.setattr(projection_waits, "_is_young", lambda _: False)
            aged.setattr(projection_waits, "LOG_ENDS_MAX_AGE_S", 0.0)
            status, _, found = await user.call("GET", f"{LIST}/{generation_id}")
            assert (status, found["code"]) == (504, "projection_behind")
        status, _, found = await user.call("GET", f"{LIST}/{generation_id}", headers={"Min-Position": position})
        assert (status, found["code"]) == (504, "projection_behind")
        monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", DEADLINE_S)
        async with projecting(settings):
            await user.get(f"{LIST}/{generation_id}", Min_Position=position)
            for unknown in (LONG_AGO, UUID(int=7), UUID(int=new_id().int + (3_600_000 << 80))):
                status, _, found = await user.call("GET", f"{LIST}/{unknown}")
                assert (status, found["code"]) == (404, "not_found"), unknown
            await user.call("DELETE", f"{LIST}/{generation_id}")
            status, _, found = await user.call("GET", f"{LIST}/{generation_id}")
            assert (status, found["code"]) == (404, "not_found"), "deleted: known, whatever its age"


async def test_a_flood_of_young_ids_that_are_none_takes_nothing_from_others(user: Client, other: Client) -> None:
    flood = [asyncio.ensure_future(user.call("GET", f"{LIST}/{new_id()}")) for _ in range(WAITS_MAX + 60)]

    async def answered() -> bool:
        return sum(call.done() for call in flood) >= 60

    await eventually(answered)
    assert sum(call.done() for call in flood) < len(flood), "some wait"
    assert (await other.get(LIST))["data"] == []
    assert {(await call)[2]["code"] for call in flood} == {"projection_behind"}
    generation_id, _ = await user.create()
    assert (await user.get(f"{LIST}/{generation_id}"))["id"] == generation_id, "the limit is of concurrent waits"


async def test_a_position_beyond_the_log_is_refused_with_the_end_of_the_log(user: Client) -> None:
    generation_id, position = await user.create()
    partition, offset = map(int, position.split(":"))
    for path, name in (
        (f"{LIST}/{generation_id}", "Min-Position"),
        (LIST, "Min-Position"),
        ("/v1/stream", "Last-Event-ID"),
        (f"{LIST}/{generation_id}/stream", "Last-Event-ID"),
        ("/v1/stream", "last_event_id"),
    ):
        beyond = f"{partition}:{offset + 1}"
        address, headers = (path, {name: beyond}) if name != "last_event_id" else (f"{path}?{name}={beyond}", {})
        status, _, found = await user.call("GET", address, headers=headers)
        assert (status, found["code"]) == (422, "position_beyond_log")
        assert found["detail"].startswith(f"{name}: {beyond} ")
        assert position in found["detail"]


@pytest.mark.parametrize("host", ["a:notaport", "", "a b<script>", "a:99999999", "a:65536", "[::1", "a/b", "a@b"])
async def test_a_host_of_which_no_url_can_be_made_is_refused_before_anything_is_made(user: Client, host: str) -> None:
    generation_id = await user.created()
    for method, path in [("POST", ""), ("GET", ""), ("POST", f"/{generation_id}/cancel")]:
        body = {"prompt": "h"} if method == "POST" and not path else None
        status, _, found = await user.call(method, f"{LIST}{path}", json=body, headers={"Host": host})
        assert (status, found["code"]) == (400, "invalid_host"), (method, path)
    [only] = (await user.get(LIST))["data"]
    assert (only["id"], only["status"]) == (generation_id, "queued")


async def test_a_generation_whose_request_is_a_dead_letter_is_not_missing(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession
) -> None:
    key = str(LONG_AGO).encode()
    partition = partition_of(key, settings.events_partitions)
    await send_to(settings, partition, key, b"{}")
    await project_everything(settings, pool)
    async with serving(settings, session) as address:
        user = Client(session, address, await seed_user(pool, "user@example.com", "user"))
        status, _, found = await user.call("GET", f"{LIST}/{LONG_AGO}")
        assert (status, found["code"]) == (504, "projection_behind")
        await pool.execute("UPDATE projections.dead_letters SET resolution = 'discarded'")
        assert (await user.call("GET", f"{LIST}/{LONG_AGO}"))[0] == 404
