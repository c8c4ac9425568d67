"""The clients of Redis: which errors are transient, and that no command blocks on the shared client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import exceptions as redis_errors

from gengui_stream.errors import TransientError
from gengui_stream.redis_io.clients import SHARED_CONNECTIONS, open_dedicated, opened_client, transient_errors
from gengui_stream.settings import Settings, load_settings
from tests.integration.running import DEADLINE_S, eventually, private_redis

AWAY = load_settings({"REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}, env_files=())


async def test_away_may_pass_and_shows_no_password() -> None:
    async with opened_client(AWAY) as redis:
        with pytest.raises(TransientError, match="Redis") as raised, transient_errors():
            await redis.ping()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "reply",
    [
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOAUTH Authentication required.",
        "NOPERM User default has no permissions to run the 'ping' command",
        "NOREPLICAS Not enough good replicas to write.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "ERR max number of clients reached",
    ],
)
async def test_replies_that_pass(reply: str) -> None:
    async with answering(reply) as settings, opened_client(settings) as redis:
        with pytest.raises(TransientError), transient_errors():
            await redis.ping()


@asynccontextmanager
async def answering(reply: str) -> AsyncIterator[Settings]:
    """A server with this error for every command."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()).startswith(b"*"):
            for _ in range(2 * int(line[1:])):
                await reader.readline()
            writer.write(f"-{reply}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield load_settings({"REDIS_URL": f"redis://127.0.0.1:{port}"}, env_files=())


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ResponseError("WRONGTYPE Operation against a key"),
        redis_errors.ResponseError("BUSYGROUP Consumer Group name already exists"),
        ValueError("a bug of ours"),
    ],
)
def test_errors_that_do_not(error: Exception) -> None:
    with pytest.raises(type(error)), transient_errors():
        raise error


@pytest.mark.stack
async def test_many_at_once_share_few_connections(settings: Settings) -> None:
    async with opened_client(settings) as redis, opened_client(settings) as other:
        name = f"shared-{settings.events_topic}"
        await redis.client_setname(name)
        await asyncio.gather(*(redis.incr("n") for _ in range(20 * SHARED_CONNECTIONS)))
        assert int(await redis.get("n") or 0) == 20 * SHARED_CONNECTIONS
        mine = [client for client in await other.client_list() if int(client["db"]) == _number(settings)]
        assert len(mine) <= SHARED_CONNECTIONS + 1


def _number(settings: Settings) -> int:
    return int(settings.redis_dsn.rsplit("/", 1)[1])


@pytest.mark.stack
async def test_bytes_that_are_no_text_come_and_go_unharmed(settings: Settings) -> None:
    async with opened_client(settings) as redis:
        odd = b"\xff\x00nul".decode(errors="surrogateescape")
        await redis.set("odd", odd)
        assert await redis.get("odd") == odd


@pytest.mark.stack
async def test_a_blocking_read_delays_no_other_client(settings: Settings) -> None:
    """On a separate client, while the shared one responds."""
    dedicated = open_dedicated(settings, answer_timeout=None)
    try:
        async with opened_client(settings) as redis:
            waiting = asyncio.ensure_future(dedicated.blpop(["never"], timeout=30))
            await eventually(lambda: _blocked(settings))
            for _ in range(50):
                assert await redis.ping()
            assert not waiting.done()
            await redis.rpush("never", "now")
            assert list(await waiting or ()) == ["never", "now"]
    finally:
        await dedicated.aclose()


async def _blocked(settings: Settings) -> bool:
    async with opened_client(settings) as redis:
        return bool((await redis.info("clients"))["blocked_clients"])


async def test_a_server_that_was_started_again_is_found_again(tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        await server.start()
        settings = AWAY.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{server.port}/0")})
        async with opened_client(settings) as redis:
            await redis.set("kept", "1")
            await server.kill()
            with pytest.raises(TransientError), transient_errors():
                await redis.get("kept")
            await server.start()
            assert await redis.get("kept") == "1"


async def test_a_primary_that_becomes_a_replica_under_a_blocked_read_may_pass(tmp_path: Path) -> None:
    async with private_redis(tmp_path) as server:
        await server.start()
        settings = AWAY.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{server.port}/0")})
        dedicated = open_dedicated(settings, answer_timeout=None)
        try:
            waiting = asyncio.ensure_future(dedicated.blpop(["never"], timeout=30))
            await eventually(lambda: _blocked(settings))
            async with opened_client(settings) as redis:
                await redis.replicaof("127.0.0.1", "1")
            with pytest.raises(TransientError, match="UNBLOCKED"), transient_errors():
                await waiting
        finally:
            await dedicated.aclose()


async def test_a_cancellation_is_never_lost(settings: Settings) -> None:
    """At any step of a command: on Python 3.11 redis-py alone loses a cancellation that arrives as its command is
    sent."""

    async def endlessly() -> None:
        while True:
            with transient_errors():
                await redis.get("any")

    async with opened_client(settings) as redis:
        for steps in range(200):
            busy = asyncio.create_task(endlessly())
            for _ in range(steps % 40):
                await asyncio.sleep(0)
            busy.cancel()
            done, _ = await asyncio.wait({busy}, timeout=DEADLINE_S)
            assert done, f"it went on after {steps % 40} steps"
