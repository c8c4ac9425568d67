"""The symptoms of docs/troubleshooting.md, each reproduced and diagnosed by the doctor."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import orjson
import pytest
import pytest_asyncio
from pydantic import SecretStr

from gengui_stream.dev.postgres.server import PostgresServer
from gengui_stream.dev.seaweed_server import SeaweedServer
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.doctor.findings import Finding
from gengui_stream.fakes.runpod.script import Health, RunpodScript
from gengui_stream.fakes.runpod.server import fake_runpod
from gengui_stream.identifiers import new_id
from gengui_stream.log.event_log import EventLog
from gengui_stream.media.object_store import open_object_store
from gengui_stream.postgres.migrations import migrate
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.redis_io.clients import opened_client
from gengui_stream.settings import Settings
from gengui_stream.worker.run import run_worker
from schemas.events import GenerationCompleted, Output
from tests.integration.doctor.doctoring import examined
from tests.integration.projector.projecting import projecting
from tests.integration.providers.runpod_scenes import with_runpod
from tests.integration.running import a_request, eventually, private_redis, running

pytestmark = pytest.mark.stack


def names(finding: Finding, symptom: str, remedy: str) -> None:
    assert finding.status == "fail"
    assert finding.detail.startswith(symptom), finding
    assert remedy in (finding.remedy or ""), finding


async def test_redis_connection_failed(settings: Settings, tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        await server.start()
        own = server.settings(settings)
        assert (await examined(own, tmp_path, "redis"))["redis.connection"].status != "fail"
        await server.kill()
        names((await examined(own, tmp_path, "redis"))["redis.connection"], "Redis connection failed", "start Redis")


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="gengui-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)  # as root, PostgreSQL runs as another user
        yield Path(name)


async def test_database_connection_failed(settings: Settings, directory: Path, tmp_path: Path) -> None:
    server = PostgresServer(directory / "postgres", directory / "log")
    await server.start()
    try:
        await migrate(server.url)
        own = settings.model_copy(update={"database_url": SecretStr(server.url)})
        assert (await examined(own, tmp_path, "postgresql"))["postgresql.connection"].status != "fail"
    finally:
        await server.stop()
    found = (await examined(own, tmp_path, "postgresql"))["postgresql.connection"]
    names(found, "Database connection failed", "start PostgreSQL")


async def test_thumbnails_not_generating(settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path) -> None:
    """Their process does not run."""
    request = a_request()
    done = {
        "id": new_id(),
        "generation_id": request.generation_id,
        "attempt": 1,
        "occurred_at": datetime.now(UTC),
        "producer": "test",
        "outputs": [Output(object_key="outputs/1.png", mime_type="image/png")],
    }
    async with projecting(settings):
        await event_log.append_many([request, GenerationCompleted.model_validate(done)])

        async def due() -> bool:
            found = await pool.fetchval("SELECT count(*) FROM jobs.jobs WHERE kind = 'thumbnail'")
            return bool(found)

        await eventually(due)
    await pool.execute("UPDATE jobs.jobs SET available_at = available_at - interval '2 minutes'")
    found = await examined(settings, tmp_path, "redis", "kafka", "jobs", "roles")
    names(found["jobs.thumbnail"], "Thumbnails not generating", "gengui-stream thumbnails")
    names(found["role.thumbnails"], "no process found", "gengui-stream thumbnails")


@pytest_asyncio.fixture
async def reader_of_store(settings: Settings, directory: Path) -> AsyncIterator[Settings]:
    """A store whose only key may read and list, and do nothing else."""
    server = SeaweedServer(directory, directory / "log")
    own = settings.model_copy(
        update={
            "s3_endpoint": server.url,
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": SecretStr(server.secret_key),
        }
    )
    try:
        await server.start()
        async with open_object_store(own) as store:
            await store.ensure_bucket()
        await server.stop()
        identities = orjson.loads((directory / "s3.json").read_bytes())
        identities["identities"][0]["actions"] = ["Read", "List"]
        (directory / "s3.json").write_bytes(orjson.dumps(identities))
        await server.start()
        yield own
    finally:
        await server.stop()


async def test_s3_upload_failed_because_the_key_has_no_right_to(reader_of_store: Settings, tmp_path: Path) -> None:
    found = await examined(reader_of_store, tmp_path, "object_store")
    assert found["object_store.bucket"].status != "fail"
    names(found["object_store.write"], "S3 upload failed", "s3:PutObject")


async def test_s3_upload_failed_because_the_bucket_is_missing(settings: Settings, tmp_path: Path) -> None:
    found = await examined(settings.model_copy(update={"s3_bucket": "no-such-bucket"}), tmp_path, "object_store")
    names(found["object_store.bucket"], "S3 request failed", "S3_BUCKET")
    assert "object_store.write" not in found


async def test_s3_upload_failed_because_the_key_is_wrong(settings: Settings, tmp_path: Path) -> None:
    changes: dict[str, dict[str, object]] = {
        "AWS_ACCESS_KEY_ID": {"aws_access_key_id": "stranger"},
        "AWS_SECRET_ACCESS_KEY": {"aws_secret_access_key": SecretStr("hunter2")},
    }
    for setting, change in changes.items():
        found = await examined(settings.model_copy(update=change), tmp_path, "object_store")
        names(found["object_store.bucket"], "S3 request failed", setting)
        assert "object_store.write" not in found
        assert not any("hunter2" in finding.detail for finding in found.values())


async def test_job_stuck_because_no_local_worker_runs(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    async with projecting(settings), running(run_dispatch, settings), opened_client(settings) as redis:
        await event_log.append(a_request())

        async def queued() -> int:
            return int(await redis.xlen(QUEUE_STREAM))

        await eventually(queued)
        names(
            (await examined(settings, tmp_path, "provider.local"))["provider.local"],
            "Job stuck",
            "gengui-stream worker",
        )
        async with running(run_worker, settings):

            async def read() -> bool:
                return (await examined(settings, tmp_path, "provider.local"))["provider.local"].status == "ok"

            await eventually(read)


@asynccontextmanager
async def queued_at_runpod(script: RunpodScript, settings: Settings) -> AsyncIterator[Settings]:
    """Settings that lead to a fake with one job that waits."""
    async with fake_runpod(script, settings=settings, key="rp-key") as server, aiohttp.ClientSession() as http:
        own = with_runpod(settings, server.url, runpod_api_key=SecretStr("rp-key"))
        job = {"input": {"prompt": "a fox"}}
        headers = {"Authorization": "Bearer rp-key"}
        async with http.post(f"{server.url}/v2/e1/run", json=job, headers=headers) as answer:
            assert answer.status == 200
        yield own


async def test_job_stuck_because_runpods_key_is_wrong(settings: Settings, tmp_path: Path) -> None:
    async with fake_runpod(key="rp-key") as server:
        own = with_runpod(settings, server.url, runpod_api_key=SecretStr("hunter2"))
        found = (await examined(own, tmp_path, "provider.runpod"))["provider.runpod"]
        names(found, "RunPod refuses the key", "RUNPOD_API_KEY")
        assert "hunter2" not in found.detail
        good = own.model_copy(update={"runpod_api_key": SecretStr("rp-key")})
        assert (await examined(good, tmp_path, "provider.runpod"))["provider.runpod"].status == "ok"


async def test_job_stuck_because_runpod_has_no_workers(settings: Settings, tmp_path: Path) -> None:
    none = Health(workers=dict.fromkeys(("idle", "ready", "initializing", "running", "throttled", "unhealthy"), 0))
    waiting = RunpodScript.model_validate(
        {"rules": [{"when": {"operation": "health"}, "then": none}], "usual": {"queue_s": 600}}
    )
    async with queued_at_runpod(waiting, settings) as own:
        found = (await examined(own, tmp_path, "provider.runpod"))["provider.runpod"]
        names(found, "Job stuck", "max workers")


async def test_a_runpod_endpoint_that_there_is_not(settings: Settings, tmp_path: Path) -> None:
    async with fake_runpod(RunpodScript(endpoints=("e2",)), key="rp-key") as server:
        own = with_runpod(settings, server.url, runpod_api_key=SecretStr("rp-key"))
        found = (await examined(own, tmp_path, "provider.runpod"))["provider.runpod"]
        names(found, "there is no endpoint e1", "RUNPOD_ENDPOINT_ID")
