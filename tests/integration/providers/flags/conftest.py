"""A server of flags, and the settings that lead to it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from gengui_stream.providers.flags.provider_flags import FlagChoice, UserAttributes
from gengui_stream.settings import Settings, load_settings
from tests.integration.providers.growthbook_server import CLIENT_KEY, GrowthBookServer, growthbook_server

PROVIDERS = ("gemini", "local", "runpod")


USER = UserAttributes(UUID(int=7))


DEFAULT = FlagChoice("local", None, "default")


def forced(provider: object) -> dict[str, object]:
    return {"image_provider": {"defaultValue": provider, "rules": []}}


def by_flag(provider: str) -> FlagChoice:
    return FlagChoice(provider, None, "flag", "image_provider")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[GrowthBookServer]:
    async with growthbook_server() as started:
        yield started


@pytest.fixture
def settings_of(server: GrowthBookServer, tmp_path: Path) -> Callable[..., Settings]:
    """Settings with the server and a cache; polling once an hour by default."""

    def made(**changes: str) -> Settings:
        plain = {
            "GROWTHBOOK_API_HOST": server.url,
            "GROWTHBOOK_CLIENT_KEY": CLIENT_KEY,
            "GROWTHBOOK_CACHE_FILE": str(tmp_path / "cache" / "flags"),
            "GROWTHBOOK_REFRESH_S": "3600",
        }
        return load_settings(plain | changes, env_files=())

    return made
