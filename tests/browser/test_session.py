"""A page logs in, and the browser sends the session's cookie by itself: also to event streams, and to no script."""

import asyncio

import aiohttp
import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.browser.pages import IN_BROWSER, Watched
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import DEADLINE_S

pytestmark = IN_BROWSER

LOG_IN = """
async ([login, password]) => {
  const headers = {'Content-Type': 'application/json'};
  const send = (path, body) => fetch(path, {method: 'POST', headers, body: JSON.stringify(body)});
  const statuses = [(await send('/v1/auth/login', {login, password})).status];
  const source = new EventSource('/v1/stream');
  const requested = new Promise((resolve) => source.addEventListener('generation.requested', resolve));
  await new Promise((resolve) => { source.onopen = resolve; });
  statuses.push((await send('/v1/generations', {prompt: 'a fox'})).status);
  await requested;
  source.close();
  statuses.push((await fetch('/v1/account')).status);
  statuses.push((await send('/v1/auth/logout')).status);
  return [statuses, document.cookie];
}
"""


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_a_page_follows_its_generations_with_the_cookie_of_a_log_in(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession, watched: Watched, environment: str
) -> None:
    """In production the cookie is `Secure`: browsers take it from this machine without TLS."""
    await an_account(pool, "ada")
    changed = settings.model_copy(update={"environment": environment})
    async with projecting(settings), serving(changed, session) as base, asyncio.timeout(DEADLINE_S):
        await watched.page.goto(f"{base}/docs")
        assert await watched.page.evaluate(LOG_IN, ["ada", PASSWORD]) == [[200, 202, 200, 204], ""]
        assert [cookie["name"] for cookie in await watched.page.context.cookies()] == []
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0
    assert watched.complaints == []
