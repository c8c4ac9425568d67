"""The object store on S3 and in memory."""

from collections.abc import AsyncIterator

import pytest

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_store import Bucket, ObjectFacts, open_object_store
from gengui_stream.media.store_errors import ObjectMissing, ObjectTooLarge
from gengui_stream.settings import Settings
from gengui_stream.testing.object_store import InMemoryObjectStore


class ObjectStoreContract:
    """`bucket`: an empty one. `unavailable`: one that cannot be reached."""

    async def test_an_object_is_read_as_it_was_written(self, bucket: Bucket) -> None:
        await bucket.put("users/a/media/ü 1.bin", b"x" * 300_000, "image/x-test")
        assert await bucket.get("users/a/media/ü 1.bin", 300_000) == b"x" * 300_000

    async def test_a_second_write_replaces_the_object(self, bucket: Bucket) -> None:
        await bucket.put("a", b"first", "image/png")
        await bucket.put("a", b"second", "image/webp")
        assert await bucket.get("a", 10) == b"second"

    async def test_an_object_over_the_limit_is_not_read(self, bucket: Bucket) -> None:
        await bucket.put("large", b"x" * 1001, "image/png")
        with pytest.raises(ObjectTooLarge, match="1001 bytes"):
            await bucket.get("large", 1000)
        assert len(await bucket.get("large", 1001)) == 1001

    async def test_a_missing_object_is_missing(self, bucket: Bucket) -> None:
        with pytest.raises(ObjectMissing):
            await bucket.get("nothing/here", 10)

    async def test_a_removed_object_is_missing_and_removing_it_again_is_harmless(self, bucket: Bucket) -> None:
        await bucket.put("a", b"body", "image/png")
        await bucket.remove("a")
        await bucket.remove("a")
        with pytest.raises(ObjectMissing):
            await bucket.get("a", 10)

    async def test_a_head_tells_size_and_type_or_that_there_is_no_object(self, bucket: Bucket) -> None:
        await bucket.put("users/a/media/ü 1.bin", b"body", "image/webp")
        assert await bucket.head("users/a/media/ü 1.bin") == ObjectFacts(4, "image/webp")
        assert await bucket.head("nothing/here") is None

    async def test_an_invalid_key_is_refused(self, bucket: Bucket) -> None:
        with pytest.raises(PermanentError):
            await bucket.get("", 10)

    async def test_an_unavailable_store_may_be_available_later(self, unavailable: Bucket) -> None:
        with pytest.raises(TransientError):
            await unavailable.get("a", 10)
        with pytest.raises(TransientError):
            await unavailable.put("a", b"", "image/png")
        with pytest.raises(TransientError):
            await unavailable.head("a")
        with pytest.raises(TransientError):
            await unavailable.remove("a")


class TestInMemory(ObjectStoreContract):
    @pytest.fixture
    def bucket(self) -> Bucket:
        return InMemoryObjectStore()

    @pytest.fixture
    def unavailable(self) -> Bucket:
        store = InMemoryObjectStore()
        store.available = False
        return store


@pytest.mark.stack
class TestOnS3(ObjectStoreContract):
    @pytest.fixture
    async def bucket(self, settings: Settings) -> AsyncIterator[Bucket]:
        async with open_object_store(settings) as store:
            yield store

    @pytest.fixture
    async def unavailable(self, settings: Settings) -> AsyncIterator[Bucket]:
        lost = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
        async with open_object_store(lost, tries=1) as store:
            yield store
