"""PostgreSQL stops without closing its connections: each request is answered, and the API goes on afterwards."""

import asyncio
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest
from pydantic import SecretStr

from api import server
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.postgres.pool import Pool, Waits
from gengui_stream.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import eventually
from tests.integration.silent_proxy import silent_proxy

ANSWERED_WITHIN_S = 10.0
"""The promise; the waits of the test are a tenth of the real ones, so that a busy machine keeps it."""

LIST = "/v1/generations"
BODY = {"prompt": "a lighthouse"}


async def test_a_silent_database_is_answered_with_503_on_every_route(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On kept and on new connections, and for more requests at once than the pool has connections."""
    monkeypatch.setattr(server, "REQUEST_WAITS", Waits(connection_s=0.3, command_s=0.5))
    found = urlsplit(settings.database_dsn)
    assert found.port is not None
    async with silent_proxy(str(found.hostname), found.port) as proxy:
        url = found._replace(netloc=f"{found.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
        behind = settings.model_copy(update={"database_url": SecretStr(url)})
        async with projecting(settings), serving(behind, session) as address:
            key = await seed_user(pool, "user@example.com", "user")
            headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}

            async def status(method: str, path: str, **body: object) -> int:
                async with asyncio.timeout(ANSWERED_WITHIN_S):
                    async with session.request(method, address + path, headers=headers, json=body or None) as response:
                        return response.status

            async def lists() -> bool:
                return await status("GET", LIST) == 200

            await eventually(lists)
            proxy.speaks.clear()
            asked = [status("GET", LIST) for _ in range(2 * settings.db_pool_max)]
            asked += [status("POST", LIST, **BODY), status("GET", "/v1/stream"), status("GET", f"{LIST}/{UUID(int=0)}")]
            assert set(await asyncio.gather(*asked)) == {503}
            proxy.speaks.set()

            async def serves() -> bool:
                return await lists() and await status("POST", LIST, **BODY) == 202

            await eventually(serves)
