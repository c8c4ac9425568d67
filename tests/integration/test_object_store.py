"""The object store against a real one."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from yarl import URL

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_store import ObjectFacts, open_object_store
from gengui_stream.settings import Settings
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


async def test_a_signed_url_gives_the_object_with_its_type_and_another_nothing(settings: Settings) -> None:
    async with open_object_store(settings) as store, aiohttp.ClientSession() as session:
        await store.put("with space/ü~(1)+&=.webp", b"body", "image/webp")
        await store.put("other", b"secret", "image/webp")
        url = store.presigned_url("with space/ü~(1)+&=.webp").url
        async with session.get(_exactly(url)) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "image/webp", b"body")
        forged = store.presigned_url("other").url.replace("X-Amz-Signature=", "X-Amz-Signature=0")
        async with session.get(_exactly(forged)) as answer:
            assert answer.status == 403


async def test_a_signed_url_ends_when_it_says(settings: Settings) -> None:
    short = settings.model_copy(update={"presigned_url_ttl_s": 2})
    async with open_object_store(short) as store, aiohttp.ClientSession() as session:
        await store.put("k", b"body", "image/webp")
        url, expires_at = store.presigned_url("k")

        async def refused() -> bool:
            asked_at = datetime.now(UTC)
            async with session.get(_exactly(url)) as answer:
                taken, now = answer.status == 200, datetime.now(UTC)
            assert taken or now >= expires_at, "it ended before"
            assert not taken or asked_at <= expires_at + timedelta(seconds=1), "the store counts whole seconds"
            return not taken

        await eventually(refused)


async def test_an_upload_url_takes_exactly_the_type_and_size_that_it_was_signed_for(settings: Settings) -> None:
    async with open_object_store(settings) as store, aiohttp.ClientSession() as session:
        url = store.presigned_upload("users/ü/a b.png", "image/png", 4, 60).url
        for body, mime_type in ((b"longer", "image/png"), (b"abc", "image/png"), (b"body", "text/html")):
            async with session.put(_exactly(url), data=body, headers={"Content-Type": mime_type}) as answer:
                assert answer.status == 403, (body, mime_type)
        assert await store.head("users/ü/a b.png") is None
        async with session.put(_exactly(url), data=b"body", headers={"Content-Type": "image/png"}) as answer:
            assert answer.status == 200
        assert await store.head("users/ü/a b.png") == ObjectFacts(4, "image/png")
        elsewhere = url.replace("a%20b.png", "c.png")
        async with session.put(_exactly(elsewhere), data=b"body", headers={"Content-Type": "image/png"}) as answer:
            assert answer.status == 403


async def test_the_bucket_is_made_once_and_waited_for(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"s3_bucket": settings.s3_bucket + "-b"})
    async with open_object_store(elsewhere) as store:
        with pytest.raises(TransientError):
            await store.get("key", 10)
        await store.ensure_bucket()
        await store.ensure_bucket()
        await store.check()


async def test_errors_say_whether_to_try_again(settings: Settings) -> None:
    away = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    async with open_object_store(away) as store:
        with pytest.raises(TransientError):
            await store.get("key", 10)
    stranger = settings.model_copy(update={"aws_access_key_id": "stranger"})
    async with open_object_store(stranger) as store:
        with pytest.raises(PermanentError):
            await store.put("key", b"", "image/png")


def _exactly(url: str) -> URL:
    return URL(url, encoded=True)
