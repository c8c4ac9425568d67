"""Cancel, retry, delete."""

import asyncio

import aiohttp
import pytest
from pydantic import SecretStr

from api import projection_waits
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.events import GenerationCanceled
from tests.integration.agents.agents_runs import send_raw
from tests.integration.api.client import Client, completed, started
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually

LIST = "/v1/generations"


async def test_cancel_is_idempotent_and_immediate_while_queued(user: Client) -> None:
    generation_id = await user.created()
    answers = await asyncio.gather(*(user.call("POST", f"{LIST}/{generation_id}/cancel") for _ in range(4)))
    answers.append(await user.call("POST", f"{LIST}/{generation_id}/cancel"))
    assert {(status, found["status"], found["canceled"]) for status, _, found in answers} == {(200, "canceled", True)}


async def test_a_cancel_right_after_the_request_finds_it_by_position(user: Client) -> None:
    generation_id, position = await user.create()
    path, sent = f"{LIST}/{generation_id}/cancel", {"Min-Position": position}
    status, _, found = await user.call("POST", path, headers=sent)
    assert (status, found["canceled"]) == (200, True)


async def test_a_running_generation_is_canceled_only_once_its_worker_has_stopped(
    user: Client, event_log: EventLog
) -> None:
    generation_id = await user.created()
    path = f"{LIST}/{generation_id}"
    await event_log.append(started(generation_id))
    await eventually(lambda: _is(user, generation_id, "processing"))
    assert (await user.get(path))["cancel_requested"] is False
    for _ in range(2):
        status, _, found = await user.call("POST", f"{path}/cancel")
        assert (status, found["status"], found["canceled"], found["cancel_requested"]) == (
            *(202, "processing", False, True),
        )
    assert (await user.get(path))["cancel_requested"] is True
    stopped = started(generation_id).model_dump(exclude={"type", "worker_id"})
    await event_log.append(GenerationCanceled.model_validate(stopped))
    await eventually(lambda: _is(user, generation_id, "canceled"))
    status, _, found = await user.call("POST", f"{path}/cancel")
    assert (status, found["canceled"], found["cancel_requested"]) == (200, True, False)


@pytest.mark.parametrize("change", [("POST", "/cancel"), ("DELETE", "")])
async def test_a_change_that_the_projections_do_not_have_yet_is_answered_as_such(
    settings: Settings,
    pool: Pool,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
) -> None:
    method, suffix = change
    async with serving(settings, session) as address:
        user = Client(session, address, await seed_user(pool, "user@example.com", "user"))
        async with projecting(settings):
            path = f"{LIST}/{await user.created()}"
        monkeypatch.setattr(projection_waits, "POSITION_WAIT_S", 0.3)
        answers = [await user.call(method, path + suffix) for _ in range(2)]
        answers += await asyncio.gather(*(user.call(method, path + suffix) for _ in range(3)))
        [position] = {headers["Gengui-Position"] for _, headers, _ in answers}  # one event however often
        for status, _, found in answers:
            assert (status, found["status"]) == (202, "queued")
            if method == "POST":
                assert (found["canceled"], found["cancel_requested"]) == (False, True)
            else:
                assert found["deletion_requested"] is True
        assert (await user.get(path))["status"] == "queued"
        async with projecting(settings):
            sent = {"Min-Position": position}
            monkeypatch.undo()
            status, _, found = await user.call("GET", path, headers=sent)
            assert (status, found["status"]) == ((200, "canceled") if method == "POST" else (404, 404))


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/cancel"), ("DELETE", "")])
async def test_a_change_parked_behind_a_dead_letter_is_not_reported_as_done(
    user: Client, settings: Settings, pool: Pool, method: str, suffix: str
) -> None:
    generation_id = await user.created()
    await send_raw(settings, [(generation_id.encode(), b"{", None)])
    await eventually(lambda: pool.fetchval("SELECT count(*) FROM projections.dead_letters"))
    status, _, found = await user.call(method, f"{LIST}/{generation_id}{suffix}")
    assert (status, found["status"], found.get("canceled", False)) == (202, "queued", False)
    assert (await user.get(f"{LIST}/{generation_id}"))["status"] == "queued"


async def test_what_has_ended_cannot_be_canceled_any_more(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created()
    await event_log.append(completed(generation_id))
    status, _, found = await user.call("POST", f"{LIST}/{generation_id}/cancel")
    assert status == (202 if found["status"] == "queued" else 200)
    assert found["canceled"] is (found["status"] == "canceled")
    await eventually(lambda: _is(user, generation_id, "completed"))
    status, _, found = await user.call("POST", f"{LIST}/{generation_id}/cancel")
    assert (status, found["status"], found["canceled"]) == (200, "completed", False)


async def _is(user: Client, generation_id: str, status: str) -> bool:
    return bool((await user.get(f"{LIST}/{generation_id}"))["status"] == status)


async def test_only_what_has_ended_is_retried_and_a_key_makes_one_of_it(user: Client, event_log: EventLog) -> None:
    generation_id = await user.created(prompt="again", seed=3, width=512)
    path = f"{LIST}/{generation_id}/retry"
    status, _, found = await user.call("POST", path)
    assert (status, found["code"]) == (409, "not_ended")
    await event_log.append(completed(generation_id))
    await eventually(lambda: _is(user, generation_id, "completed"))
    key = {"Idempotency-Key": "r"}
    answers = [await user.call("POST", path, headers=key) for _ in range(2)]
    assert [status for status, _, _ in answers] == [202, 202]
    assert answers[0][2] == answers[1][2]
    assert answers[1][1]["Idempotent-Replayed"] == "true"
    again = answers[0][2]
    assert again["id"] != generation_id
    assert (again["retried_from"], again["prompt"], again["seed"], again["width"]) == (generation_id, "again", 3, 512)
    status, _, found = await user.call("POST", LIST, json={"prompt": "x"}, headers=key)
    assert (status, found["code"]) == (422, "idempotency_key_reused")
    read = await user.get(f"{LIST}/{again['id']}", Min_Position=answers[0][1]["Gengui-Position"])
    assert {**read, "queue": None} == again


async def test_a_generation_of_a_provider_that_lacks_the_default_model_is_retried(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, event_log: EventLog
) -> None:
    """Its request named no model, so the recorded one is the default, which that provider does not know by name."""
    changes: dict[str, object] = {"runpod_api_key": SecretStr("k"), "runpod_endpoint_id": "e"}
    given = settings.model_copy(update=changes)
    async with projecting(given), serving(given, session) as address:
        user = Client(session, address, await seed_user(pool, "user@example.com", "user"))
        generation_id = await user.created(provider="runpod", width=512, height=512)
        await event_log.append(completed(generation_id))
        await eventually(lambda: _is(user, generation_id, "completed"))
        status, _, found = await user.call("POST", f"{LIST}/{generation_id}/retry")
        made = await user.get(f"{LIST}/{generation_id}")
    assert made["model"] == settings.runpod_model, "the one that runs, although the request names none"
    assert (status, found.get("provider"), found.get("retried_from")) == (202, "runpod", generation_id), found
    assert (made["started_at"], made["metrics"]["run_ms"], made["metrics"]["queue_ms"]) == (None, None, None)
    assert made["metrics"]["total_ms"] is not None


async def test_what_was_deleted_is_gone_everywhere_at_once(user: Client) -> None:
    generation_id, kept = await user.created(), await user.created()
    status, headers, found = await user.call("DELETE", f"{LIST}/{generation_id}")
    assert (status, found) == (204, {})
    assert headers["Gengui-Position"]
    assert [item["id"] for item in (await user.get(LIST))["data"]] == [kept]
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel"), ("DELETE", "")):
        status, _, found = await user.call(method, f"{LIST}/{generation_id}{path}")
        assert (status, found["code"]) == (404, "not_found"), (method, path)
