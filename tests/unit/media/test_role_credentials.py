"""Signing a URL makes no request: not even when the credentials of a role of AWS have nearly expired."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from aiohttp import web

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media import signing_credentials
from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import Settings, load_settings
from tests.integration.running import eventually


class CredentialServer:
    """The server that a container of AWS asks, in the event loop of the test: a request that blocks the loop is never
    answered. Its credentials are to be renewed at once."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        ends = datetime.now(UTC) + timedelta(minutes=5)
        return web.json_response(
            {
                "AccessKeyId": f"key-{self.asked}",
                "SecretAccessKey": "s",
                "Token": f"token-{self.asked}",
                "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
            }
        )


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)  # between its tries
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.TIMEOUT_SECONDS", 0.5)  # of each
    return load_settings({}, env_files=()).model_copy(
        update={"aws_access_key_id": None, "aws_secret_access_key": None, "aws_session_token": None}
    )


@pytest_asyncio.fixture
async def server(role: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CredentialServer]:
    found, app = CredentialServer(), web.Application()
    app.router.add_get("/", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{runner.addresses[0][1]}/")
    yield found
    await runner.cleanup()


def token(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Security-Token"][0]


async def test_a_url_is_signed_without_a_request(role: Settings, server: CredentialServer) -> None:
    async with open_object_store(role) as store:
        asked = server.asked
        url, expires_at = store.presigned_url("a")
        assert token(url) == f"token-{asked}"
        assert expires_at <= datetime.now(UTC) + timedelta(minutes=5), "with the credentials, before its own time"
        assert server.asked == asked


async def test_credentials_are_renewed_in_the_background(
    role: Settings, server: CredentialServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_credentials, "REFRESH_EVERY_S", 0.02)
    async with open_object_store(role) as store:
        first = token(store.presigned_url("a").url)

        async def renewed() -> bool:
            return token(store.presigned_url("a").url) != first

        await eventually(renewed, within_s=10)


async def test_known_credentials_outlive_their_server(
    role: Settings, server: CredentialServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_object_store(role) as store:
        first = token(store.presigned_url("a").url)
        monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.RETRY_ATTEMPTS", 1)
        store.credentials.refresh()  # in the loop of its server, which cannot answer
        assert token(store.presigned_url("a").url) == first


async def test_without_credentials_there_is_no_url(role: Settings) -> None:
    async with open_object_store(role) as store:
        with pytest.raises((PermanentError, TransientError), match="no credentials"):
            store.presigned_url("a")
