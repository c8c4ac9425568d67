"""What workers over HTTP upload without a result does not stay in the object store."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gengui_stream.identifiers import new_id
from gengui_stream.media.object_keys import leased_media_key
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import JOB_KEPT_S, UPLOADS
from gengui_stream.providers.local.uploads import CHECK_AFTER_S, Upload, Uploads, sweep
from gengui_stream.redis_io.clients import shared
from gengui_stream.settings import Settings
from tests.integration.api.client import Client
from tests.integration.api.workers.job_worker import JobWorker, reaches

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ObjectStore]:
    async with open_object_store(settings) as opened:
        yield opened


class Later:
    """The uploads, `seconds` from now."""

    def __init__(self, redis: Redis) -> None:
        self.seconds = 0.0
        self.uploads = Uploads(shared(redis), lambda: time.time() + self.seconds)


async def there(store: ObjectStore, key: str) -> bool:
    return await store.head(key) is not None


async def test_what_a_lost_worker_uploaded_is_removed_once_its_generation_has_ended(
    user: Client, box: JobWorker, store: ObjectStore, redis: Redis, pool: Pool
) -> None:
    generation_id, later = await user.created(), Later(redis)
    lost = await box.claimed(lease_s=2)
    orphan = await box.uploaded(lost, b"late")
    taken = await box.claimed()
    status, problem = await box.report(lost, "completed", outputs=[{"object_key": orphan}])
    assert (status, problem["code"]) == (409, "lease_lost")
    later.seconds = CHECK_AFTER_S + 60
    assert await sweep(later.uploads, pool, store) == 0, "it may still become an output"
    assert await there(store, orphan)
    result = await box.uploaded(taken, b"good")
    assert (await box.report(taken, "completed", outputs=[{"object_key": result}]))[0] == 200
    await reaches(user, generation_id, "completed")
    later.seconds += CHECK_AFTER_S + 60
    assert await sweep(later.uploads, pool, store) == 1
    assert (await there(store, orphan), await there(store, result)) == (False, True)
    assert await redis.zcard(UPLOADS) == 0
    assert await sweep(later.uploads, pool, store) is None


async def test_so_is_what_a_worker_uploaded_and_never_reported(
    user: Client, box: JobWorker, store: ObjectStore, redis: Redis, pool: Pool
) -> None:
    generation_id, later = await user.created(), Later(redis)
    job = await box.claimed()
    keys = [await box.uploaded(job, b"one"), await box.uploaded(job, b"two", "image/jpeg")]
    await box.report(job, "failed", error={"code": "out_of_memory", "message": "no"})
    await reaches(user, generation_id, "failed")
    assert await sweep(later.uploads, pool, store) is None, "its signed URL is still valid"
    later.seconds = CHECK_AFTER_S + 60
    assert await sweep(later.uploads, pool, store) == len(keys)
    assert [await there(store, key) for key in keys] == [False, False]


async def test_nothing_is_removed_that_the_projections_do_not_know(
    base: str, store: ObjectStore, redis: Redis, pool: Pool
) -> None:
    """They may be about to be restored."""
    later, generation_id = Later(redis), new_id()
    key = leased_media_key(new_id(), generation_id, "lease", "image/png")
    await store.put(key, b"image", "image/png")
    await later.uploads.add(Upload(generation_id, key))
    later.seconds = CHECK_AFTER_S + 60
    assert await sweep(later.uploads, pool, store) == 0
    assert await redis.zcard(UPLOADS) == 1
    later.seconds = JOB_KEPT_S + 2 * CHECK_AFTER_S
    assert await sweep(later.uploads, pool, store) == 0
    assert (await there(store, key), await redis.zcard(UPLOADS)) == (True, 0)
