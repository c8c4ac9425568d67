"""Metrics and documentation behind a key, or not at all, where the settings have it so."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.accounts.principals import Role
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.conftest import serving

PAGES = ("/openapi.json", "/docs", "/", "/docs/")
Open = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def opened(settings: Settings, session: aiohttp.ClientSession) -> Open:
    @asynccontextmanager
    async def serve(**changes: object) -> AsyncIterator[str]:
        async with serving(settings.model_copy(update=changes), session) as base:
            yield base

    return serve


@pytest.fixture
async def keys(pool: Pool) -> dict[str, str]:
    roles: tuple[Role, ...] = ("user", "worker", "admin")
    return {"": ""} | {role: await seed_user(pool, f"{role}@example.com", role) for role in roles}


async def statuses(session: aiohttp.ClientSession, url: str, keys: dict[str, str]) -> dict[str, int]:
    found = {}
    for role, key in keys.items():
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        async with session.get(url, headers=sent, allow_redirects=False) as answer:
            found[role] = answer.status
            if answer.status in {401, 403}:
                assert (await answer.json(content_type=None))["code"] in {"unauthorized", "forbidden"}
    return found


async def test_metrics_are_for_operators(opened: Open, session: aiohttp.ClientSession, keys: dict[str, str]) -> None:
    async with opened(api_metrics="key") as base:
        found = await statuses(session, f"{base}/metrics", keys)
        assert found == {"": 401, "user": 403, "worker": 403, "admin": 200}
        assert set((await statuses(session, f"{base}/livez", keys)).values()) == {200}


async def test_documents_are_for_users(opened: Open, session: aiohttp.ClientSession, keys: dict[str, str]) -> None:
    async with opened(api_docs="key") as base:
        for path in PAGES[:2]:
            found = await statuses(session, base + path, keys)
            assert found == {"": 401, "user": 200, "worker": 200, "admin": 200}, path


async def test_documents_are_absent(opened: Open, session: aiohttp.ClientSession, keys: dict[str, str]) -> None:
    async with opened(api_docs="off") as base:
        for path in PAGES:
            assert set((await statuses(session, base + path, keys)).values()) == {404}, path


def test_production_hides_metrics_by_default() -> None:
    assert Settings.model_validate({}).api_metrics == "public"
    assert Settings.model_validate({"environment": "production"}).api_metrics == "key"
    assert Settings.model_validate({"environment": "production", "api_metrics": "public"}).api_metrics == "public"
