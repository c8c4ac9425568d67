"""Invalid input on every interface, while the processes that handle it are killed."""

import asyncio
import random
import signal
import time
from collections.abc import Mapping

import aiohttp

from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ProducerStreams
from tests.faults.load import load
from tests.faults.oracle import settled
from tests.faults.system import DevSystem
from tests.integration.agents.agents_runs import send_raw

STATUS_STREAM, QUEUE_STREAM = "job:status:stream", "generation:stream"
REFUSALS = {400, 401, 404, 405, 413, 415, 422}
ON_THE_LOG = 40
IN_REDIS = 40
OVER_HTTP = 60

VALUES: tuple[bytes | None, ...] = (
    b"{invalid",
    b"\xff\xfe\x00",
    b"",
    None,
    b"[1]",
    b"null",
    b'{"type": "generation.started"}',
    bytes(2**20),
)


async def onto_the_log(system: DevSystem, chance: random.Random) -> None:
    now = int(time.time() * 1000)
    for _ in range(ON_THE_LOG):
        key = chance.choice((b"", b"\x00", str(new_id()).encode()))
        await send_raw(system.settings, [(key, chance.choice(VALUES), now)])


async def into_redis(system: DevSystem, chance: random.Random) -> None:
    fields: list[Mapping[str, str]] = [
        {"a": "b"},
        {"mediaId": "no id", "status": "completed"},
        {"mediaId": str(new_id()), "status": "unheard of"},
        {"mediaId": str(new_id()), "status": "completed", "s3Key": "x" * 100_000},
        {"mediaId": str(new_id()), "prompt": "", "width": "-1"},
        {"": "\udcff"},
    ]
    async with opened_client(system.settings) as redis:
        for _ in range(IN_REDIS):
            await ProducerStreams(shared(redis)).add(
                chance.choice((STATUS_STREAM, QUEUE_STREAM)), chance.choice(fields)
            )


async def over_http(system: DevSystem, chance: random.Random) -> None:
    bodies = (b"{", b"[]", b"\xff", b'{"prompt": 7}', b'{"prompt": "x", "y": 1}', b"0" * 10**6)
    keys = (f"Bearer {system.key()}", f"Bearer {system.key('worker')}", "Bearer no", "Basic eDp5", "")
    paths = ("/v1/generations", "/v1/worker/events", "/v1/generations/no-id/cancel", "/nowhere")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        for _ in range(OVER_HTTP):
            headers = {
                "Authorization": chance.choice(keys),
                "Content-Type": chance.choice(("application/json", "text/x")),
            }
            async with http.post(
                system.url + chance.choice(paths), data=chance.choice(bodies), headers=headers
            ) as answer:
                assert answer.status in REFUSALS | {403, 503}, (answer.status, await answer.text())


async def test_rubbish_everywhere(system: DevSystem, chance: random.Random) -> None:
    async with load(system) as asked:
        await asked.more(5)
        async with asyncio.TaskGroup() as group:
            for send in (onto_the_log, into_redis, over_http):
                group.create_task(send(system, chance))
        killed = {role: system.signal(role, signal.SIGKILL) for role in ("agents", "bridge", "worker")}
        for role, pid in killed.items():
            await system.revived(role, pid)
        await asked.more(10)
    await settled(system, asked)
    async with opened_pool(system.settings, size=1) as pool:
        assert await pool.fetchval("SELECT count(*) FROM projections.dead_letters") >= ON_THE_LOG
