"""Temporary credentials of AWS have a token, which every request must contain."""

from urllib.parse import parse_qs, urlsplit

from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import load_settings


async def test_the_token_of_temporary_credentials_is_used() -> None:
    given = {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "of-an-hour"}
    async with open_object_store(load_settings(given, env_files=())) as store:
        query = parse_qs(urlsplit(store.presigned_url("key").url).query)
    assert query["X-Amz-Security-Token"] == ["of-an-hour"]
