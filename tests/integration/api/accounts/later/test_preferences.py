"""Preferences, and the generations that are requested with them."""

import pytest

from gengui_stream.accounts.keys.api_keys import create_key
from gengui_stream.postgres.pool import Pool
from tests.integration.api.client import Client

pytestmark = pytest.mark.stack

PATH = "/v1/account/preferences"


async def test_preferences_apply_to_the_next_request_by_session_and_by_key(ada: Client, pool: Pool) -> None:
    assert await ada.get(PATH) == {"width": None, "height": None, "model": None, "provider": None}
    status, _, made = await ada.call("PATCH", PATH, json={"width": 512, "height": 768, "provider": "local"})
    assert (status, made) == (200, {"width": 512, "height": 768, "model": None, "provider": "local"})
    status, _, made = await ada.call("PATCH", PATH, json={"height": None})
    assert (status, made["width"], made["height"]) == (200, 512, None)
    key = (await create_key(pool, "ada@example.com")).text
    for client in (ada, Client(ada.session, ada.base, key)):
        status, _, found = await client.call("POST", "/v1/generations", json={"prompt": "a fox"})
        assert (status, found["width"], found["height"], found["provider"]) == (202, 512, 1024, "local")
        status, _, found = await client.call("POST", "/v1/generations", json={"prompt": "a fox", "width": 640})
        assert (status, found["width"]) == (202, 640)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"width": 100}, "width"),
        ({"provider": "nowhere"}, "provider"),
        ({"style": "oil"}, "style"),
        ({"width": "512"}, "width"),
    ],
)
async def test_what_no_request_may_have_is_no_preference(ada: Client, change: dict[str, object], field: str) -> None:
    status, _, problem = await ada.call("PATCH", PATH, json=change)
    assert (status, problem["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in problem["errors"]] == [field]
    assert await ada.get(PATH) == {"width": None, "height": None, "model": None, "provider": None}


async def test_a_preference_for_a_provider_that_is_gone_is_left_out(ada: Client, pool: Pool) -> None:
    await pool.execute("""UPDATE accounts.users SET preferences = '{"provider": "gone", "width": 512, "later": 1}'""")
    status, _, found = await ada.call("POST", "/v1/generations", json={"prompt": "a fox"})
    assert (status, found["provider"], found["width"]) == (202, "local", 512)
